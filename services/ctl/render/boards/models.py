"""What the models say, how sure they are, and how long they take."""

from __future__ import annotations

from services.ctl.render.boards.panel import RATE, Dashboard, Kind, Panel, Query, quantiles

MODELS = Dashboard(
    "ai-performance",
    "AI Performance",
    "What the models say, how sure they are, and how long they take.",
    (
        Panel(
            "Model predictions",
            "Candles answered a second, by why they became no signal.",
            "cps",
            (
                Query(
                    "label_replace(sum by (hold) (rate(ai_service_predictions_made_total"
                    f'{RATE})), "hold", "signal", "hold", "")',
                    "{{hold}}",
                ),
            ),
        ),
        Panel(
            "Signals",
            "Signals a second by action.",
            "cps",
            (
                Query(
                    f"sum by (action) (rate(ai_service_signals_generated_total{RATE}))",
                    "{{action}}",
                ),
            ),
        ),
        Panel(
            "Signal quality: passed by the gates",
            "Share of answers that became signals, and of signals that the risk rules let pass.",
            "percentunit",
            (
                Query(
                    f"sum(rate(ai_service_signals_generated_total{RATE}))"
                    f" / (sum(rate(ai_service_predictions_made_total{RATE})) > 0)",
                    "became signals",
                ),
                Query(
                    f'sum(rate(exec_risk_service_risk_decisions_total{{rule="approved"}}{RATE}))'
                    f" / (sum(rate(exec_risk_service_risk_decisions_total{RATE})) > 0)",
                    "let pass",
                ),
            ),
        ),
        Panel(
            "Signal quality: outcomes",
            "Outcomes of single models that became known a second; 1 while drift is seen.",
            "short",
            (
                Query(
                    f"sum(rate(analytics_os_service_learning_samples_judged_total{RATE}))",
                    "judged",
                ),
                Query("max(analytics_os_service_drift_detected)", "drift"),
            ),
        ),
        Panel(
            "Confidence distribution",
            "Answers by the confidence of the ensemble; a third is no opinion.",
            "short",
            (
                Query(
                    f"sum by (le) (increase(ai_service_prediction_confidence_bucket{RATE}))",
                    "{{le}}",
                ),
            ),
            Kind.HEAT,
        ),
        Panel(
            "Mean confidence",
            "Of all answers, HOLD included.",
            "percentunit",
            (
                Query(
                    f"sum(rate(ai_service_prediction_confidence_sum{RATE}))"
                    f" / (sum(rate(ai_service_prediction_confidence_count{RATE})) > 0)",
                    "confidence",
                ),
            ),
        ),
        Panel(
            "Ensemble weights",
            "Share of each model's vote; an excluded one has none.",
            "percentunit",
            (Query("max by (model) (ai_service_model_weight)", "{{model}}"),),
            Kind.SHARES,
        ),
        Panel(
            "Models loaded",
            "Replicas in which a verified artifact answers.",
            "short",
            (Query("sum(ai_service_models_loaded)", "replicas"),),
            Kind.NUMBER,
        ),
        Panel(
            "Latency of signals",
            "From receiving a candle to its answer being stored; HighLatency: p95 above 2 s.",
            "s",
            quantiles("ai_service_signal_latency_seconds", "signal"),
        ),
        Panel(
            "Latency of model runs",
            "One run of all models on a batch.",
            "s",
            quantiles("ai_service_model_run_seconds", "run"),
        ),
    ),
)
