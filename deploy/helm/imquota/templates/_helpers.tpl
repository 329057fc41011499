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

{{/* A value of a setting as text. Helm reads numbers as floats, which print as 5e+06. */}}
{{- define "imquota.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{/* Milliseconds of a setting: settings, name, and the default of imquota. */}}
{{- define "imquota.ms" -}}
{{- $settings := index . 0 -}}
{{- $name := index . 1 -}}
{{- $text := include "imquota.text" (get $settings $name) -}}
{{- if eq $text "" }}{{ $text = index . 2 }}{{ end -}}
{{- if not (regexMatch "^[0-9]+$" $text) }}
{{- fail (printf "settings.%s: %q is not a number of milliseconds" $name $text) }}
{{- end }}
{{- $text }}
{{- end }}

{{/* The port of a URL. */}}
{{- define "imquota.urlPort" -}}
{{- $url := urlParse . -}}
{{- $named := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $named | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end }}

{{/* Fails where STORE names a port that the network policy does not admit. */}}
{{- define "imquota.checkPorts" -}}
{{- $store := .Values.settings.STORE -}}
{{- $value := ternary "sentinelPort" "redisPort" (contains "-sentinel://" $store) -}}
{{- $admitted := get .Values.networkPolicy $value | int -}}
{{- $default := ternary 26379 6379 (contains "-sentinel://" $store) -}}
{{- $hosts := regexReplaceAll "^[a-z-]+://([^/]*@)?([^/?]*).*$" $store "${2}" -}}
{{- range splitList "," $hosts }}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" | default $default | int -}}
{{- if ne $port $admitted }}
{{- fail (printf "settings.STORE names port %d, and networkPolicy.%s admits %d alone" $port $value $admitted) }}
{{- end }}
{{- end }}
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
