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

{{/* Milliseconds of a setting: settings, name, and what imquota takes by default. */}}
{{- define "imquota.ms" -}}
{{- $name := index . 1 -}}
{{- $text := index (index . 0) $name | default (index . 2) -}}
{{- if not (regexMatch "^[0-9]+$" $text) }}
{{- fail (printf "settings.%s: %q is not a number of milliseconds" $name $text) }}
{{- end }}
{{- $text }}
{{- end }}

{{/* Seconds from the signal to end: one that is killed earlier may leave its journal behind. */}}
{{- define "imquota.grace" -}}
{{- $settings := .Values.settings -}}
{{- $delay := include "imquota.ms" (list $settings "SHUTDOWN_DELAY_MS" "2000") -}}
{{- $drain := include "imquota.ms" (list $settings "DRAIN_TIMEOUT_MS" "10000") -}}
{{- $least := div (add (int $delay) (int $drain) 7000 999) 1000 -}}
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- $why := "terminationGracePeriodSeconds: SHUTDOWN_DELAY_MS and DRAIN_TIMEOUT_MS need %d, not %d" -}}
{{- if lt $grace (int $least) }}
{{- fail (printf $why $least $grace) }}
{{- end }}
{{- $grace }}
{{- end }}

{{- define "imquota.labels" -}}
{{ include "imquota.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
