"""Timers of a daily backup, as text to put in place: cron, systemd, Windows, Kubernetes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timer:
    """When which program takes a backup."""

    program: str
    """`qt`, with its folder."""
    home: Path
    hour: int = 3

    @property
    def _arguments(self) -> str:
        return f"backup --home={shlex.quote(str(self.home))}"

    def cron(self) -> str:
        """Return a line of a crontab; what the command says is mailed by cron."""
        return f"0 {self.hour} * * * {shlex.quote(self.program)} {self._arguments}\n"

    def systemd(self) -> str:
        """Return a service and its timer; a run that was missed is made up for."""
        return f"""\
# /etc/systemd/system/quantum-trader-backup.service
[Unit]
Description=Backup of Quantum Trader

[Service]
Type=oneshot
ExecStart={self.program} {self._arguments}
Nice=10
IOSchedulingClass=idle

# /etc/systemd/system/quantum-trader-backup.timer
[Unit]
Description=Daily backup of Quantum Trader

[Timer]
OnCalendar=*-*-* {self.hour:02d}:00:00
Persistent=true

[Install]
WantedBy=timers.target

# systemctl daemon-reload && systemctl enable --now quantum-trader-backup.timer
"""

    def windows(self) -> str:
        """Return the guide's scheduled task for PowerShell, where the system runs under WSL."""
        command = f"{self.program} {self._arguments}"
        return f"""\
$Action = New-ScheduledTaskAction -Execute "wsl.exe" -Argument "-e {command}"
$Trigger = New-ScheduledTaskTrigger -Daily -At {self.hour}am
Register-ScheduledTask -TaskName "QuantumTraderBackup" -Action $Action -Trigger $Trigger
"""

    def cronjob(self) -> str:
        """Return a CronJob that has the operators' keys and keeps archives on a disk of its own.

        It opens bus and database to the job; a cluster's component `backup` is this text.
        """
        return _CRONJOB.format(hour=self.hour)


_CRONJOB = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: backups, namespace: quantum-trader}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 50Gi}}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: backup, namespace: quantum-trader}}
spec:
  schedule: "0 {hour} * * *"
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        metadata:
          # with a proxy of Istio beside it a job would never end
          labels: {{app.kubernetes.io/name: backup, sidecar.istio.io/inject: "false"}}
        spec:
          restartPolicy: OnFailure
          automountServiceAccountToken: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 10001
            fsGroup: 10001
            seccompProfile: {{type: RuntimeDefault}}
          containers:
          - name: backup
            image: quantum-trader:3.1.0
            command: [qt, backup, --to, /backups]
            env:
            - {{name: NATS_URL, value: "tls://quantum-trader-nats:4222"}}
            - {{name: NATS_NKEY_FILE, value: /secrets/bus/seed}}
            - {{name: NATS_CA_FILE, value: /secrets/nats/ca.crt}}
            - name: BACKUP_POSTGRES_URL
              value: "postgresql://quantum_user@quantum-trader-postgres-rw:5432/quantum_trader"
            - {{name: BACKUP_POSTGRES_PASSWORD_FILE, value: /secrets/postgres/password}}
            securityContext:
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities: {{drop: [ALL]}}
            resources:
              requests: {{cpu: 100m, memory: 256Mi}}
              limits: {{cpu: "1", memory: 1Gi}}
            volumeMounts:
            - {{name: backups, mountPath: /backups}}
            - {{name: bus, mountPath: /secrets/bus, readOnly: true}}
            - {{name: nats, mountPath: /secrets/nats, readOnly: true}}
            - {{name: postgres, mountPath: /secrets/postgres, readOnly: true}}
          volumes:
          - {{name: backups, persistentVolumeClaim: {{claimName: backups}}}}
          - {{name: bus, secret: {{secretName: bus-operator, defaultMode: 288}}}}
          - name: nats
            secret:
              {{secretName: nats-tls, defaultMode: 288, items: [{{key: ca.crt, path: ca.crt}}]}}
          - {{name: postgres, secret: {{secretName: postgres-quantum-user, defaultMode: 288}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: backup, namespace: quantum-trader}}
spec:
  podSelector: {{matchLabels: {{app.kubernetes.io/name: backup}}}}
  policyTypes: [Egress]
  egress:
  - to: [{{podSelector: {{matchLabels: {{app.kubernetes.io/name: quantum-trader-nats}}}}}}]
    ports: [{{port: 4222, protocol: TCP}}]
  - to: [{{podSelector: {{matchLabels: {{cnpg.io/cluster: quantum-trader-postgres}}}}}}]
    ports: [{{port: 5432, protocol: TCP}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: backup-reads-bus, namespace: quantum-trader}}
spec:
  podSelector: {{matchLabels: {{app.kubernetes.io/name: quantum-trader-nats}}}}
  policyTypes: [Ingress]
  ingress:
  - from: [{{podSelector: {{matchLabels: {{app.kubernetes.io/name: backup}}}}}}]
    ports: [{{port: 4222, protocol: TCP}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: backup-reads-database, namespace: quantum-trader}}
spec:
  podSelector: {{matchLabels: {{cnpg.io/cluster: quantum-trader-postgres}}}}
  policyTypes: [Ingress]
  ingress:
  - from: [{{podSelector: {{matchLabels: {{app.kubernetes.io/name: backup}}}}}}]
    ports: [{{port: 5432, protocol: TCP}}]
"""
