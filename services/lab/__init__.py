"""The cores without the network: training now; backtest, simulation and parity later."""
