{{/* The name of everything: that of the release, cut to what a name may be. */}}
{{- define "imquota.name" -}}
{{- if contains "imquota" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-imquota" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What pods are found by. */}}
{{- define "imquota.selector" -}}
app.kubernetes.io/name: imquota
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "imquota.labels" -}}
{{ include "imquota.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
