//! Refused configurations, and their error messages.

use imquota::config::Config;

use super::load;

const NOT_AN_ADDRESS: &str = "must be IP:PORT such as 127.0.0.1:50051 or [::1]:50051, \
                              localhost:PORT or unix:PATH (other host names are not looked up)";

const HOST: &str = "must be a host name or an address, without scheme and port, such as";

#[test]
fn an_invalid_value_is_refused_with_the_valid_ones() {
    let too_long = format!("unix:{}", "p".repeat(108));
    let longest = format!("unix:{}", "p".repeat(107));
    assert!(load(&["--listen", &longest], &[], None).is_ok());
    let ports = "must be a whole number of milliseconds from";
    for (flag, value, expected) in [
        ("store", "redis", "must be redis://HOST:PORT/DB".to_owned()),
        ("store", "embedded:", "must be \"embedded:DIR\", \"memory\"".into()),
        ("store", "", "must be \"embedded:DIR\", \"memory\"".into()),
        ("listen", "example.com:1", format!("{NOT_AN_ADDRESS}, not \"example.com:1\"")),
        ("listen", "127.0.0.1", format!("{NOT_AN_ADDRESS}, not \"127.0.0.1\"")),
        ("listen", "::1:50051", NOT_AN_ADDRESS.into()),
        ("listen", "localhost:65536", NOT_AN_ADDRESS.into()),
        ("listen", "localhost:+1", NOT_AN_ADDRESS.into()),
        ("listen", "", NOT_AN_ADDRESS.into()),
        ("listen", "unix:", "must be \"unix:\" and a path of 1 to 107 bytes".into()),
        ("listen", &too_long, "must be \"unix:\" and a path of 1 to 107 bytes".into()),
        ("admin-listen", "0.0.0.0:1", "0.0.0.0:1 can be reached from other machines, so".into()),
        ("admin-listen", "[::]:1", "[::]:1 can be reached".into()),
        ("admin-listen", "10.0.0.1:1", "10.0.0.1:1 can be reached".into()),
        ("management-listen", "unix:/a", "must be IP:PORT such as 127.0.0.1:9090".into()),
        ("management-listen", "no", "must be IP:PORT such as 127.0.0.1:9090".into()),
        ("http-hosts", "http://a", HOST.into()),
        ("http-hosts", "a:80", HOST.into()),
        (
            "catalog",
            "/no/such.toml",
            "must be a file that can be read (No such file or directory (os error 2)), \
             not \"/no/such.toml\""
                .into(),
        ),
        ("catalog", "/", "must be a file that can be read (is a directory), not \"/\"".into()),
        ("catalog", "", "must be a path, not \"\"".into()),
        ("state-dir", "", "must be a path, not \"\"".into()),
        ("store-id", "FFFF", "must be 32 hexadecimal digits, as `imquota admin store-id`".into()),
        ("unknown-app", "Trial", "must be \"trial\" or \"reject\", not \"Trial\"".into()),
        ("log-format", "xml", "must be \"text\" or \"json\", not \"xml\"".into()),
        ("log-filter", " ", "must be directives such as".into()),
        ("log-filter", "a=loud", "must be directives such as".into()),
        ("reflection", "yes", "must be true or false, not \"yes\"".into()),
        ("request-timeout-ms", "0", format!("{ports} 1 to 60000, not \"0\"")),
        ("request-timeout-ms", "60001", format!("{ports} 1 to 60000, not \"60001\"")),
        ("request-timeout-ms", "2s", format!("{ports} 1 to 60000, not \"2s\"")),
        ("drain-timeout-ms", "-1", format!("{ports} 0 to 600000, not \"-1\"")),
        (
            "subjects-in-flight-max",
            "100001",
            "must be a whole number from 1 to 100000, not \"100001\"".into(),
        ),
        ("in-flight-max", "9", "was removed: set subjects_in_flight_max, which counts".into()),
        ("app-share-percent", "50", "was removed: set subjects_in_flight_max, which".into()),
        ("redis-in-flight-max", "9", "was removed: set subjects_in_flight_max, which".into()),
        ("apply-in-flight-max", "0", "must be a whole number from 1 to 10000, not \"0\"".into()),
    ] {
        let error = load(&[&format!("--{flag}={value}")], &[], None).expect_err(value);
        assert!(error.starts_with(&format!("--{flag}: {expected}")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_retired_setting_is_refused_in_the_environment_and_the_file_too() {
    let env = [("IMQUOTA_IN_FLIGHT_MAX", "4096")];
    let error = load(&[], &env, Some("redis_in_flight_max = 7")).expect_err("retired");
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].starts_with("IMQUOTA_IN_FLIGHT_MAX: was removed: set subjects_in"), "{error}");
    assert!(lines[1].contains("redis_in_flight_max: was removed"), "{error}");
}

#[test]
fn conflicting_listeners_are_refused() {
    let conflicts = |one: &str, other: &str| {
        let env = format!("{one},{other}");
        let error = load(&[], &[("IMQUOTA_LISTEN", &env)], None).err();
        if let Some(error) = &error {
            let expected =
                format!("IMQUOTA_LISTEN: {other} conflicts with {one}, set by IMQUOTA_LISTEN");
            assert_eq!(*error, expected);
        }
        error.is_some()
    };
    for (one, other, expected) in [
        ("127.0.0.1:1", "127.0.0.1:1", true),
        ("127.0.0.1:1", "127.0.0.1:2", false),
        ("127.0.0.1:1", "127.0.0.2:1", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("0.0.0.0:1", "127.0.0.1:1", true),
        ("127.0.0.1:1", "[::]:1", true),
        ("[::1]:1", "0.0.0.0:1", false),
        ("unix:a", "unix:a", true),
        ("unix:a", "unix:b", false),
    ] {
        assert_eq!(conflicts(one, other), expected, "{one} {other}");
    }
    let error = load(&["--listen=127.0.0.1:50052", "--management-listen=0.0.0.0:50052"], &[], None);
    assert_eq!(
        error.expect_err("three on one port"),
        "the default of admin_listen: 127.0.0.1:50052 conflicts with 127.0.0.1:50052, set by \
         --listen\n\
         --management-listen: 0.0.0.0:50052 conflicts with 127.0.0.1:50052, set by --listen"
    );
    // A refused value conflicts with nothing, and neither does the default in its place.
    let error = load(&["--listen=nonsense", "--admin-listen=127.0.0.1:50051"], &[], None);
    assert_eq!(error.expect_err("nonsense").lines().count(), 1);
}

#[test]
fn all_errors_are_reported_together_with_their_source() {
    let file = "store = 7\n\
                listn = '127.0.0.1:1'\n\
                admin_listen = ['127.0.0.1:2', '10.0.0.1:2', 3]\n\
                log_format = 'xml'\n\
                reflection = 'yes'\n\
                request_timeout_ms = '5'\n\
                drain_timeout_ms = 600001\n\
                log_filter = info\n\
                unknown_app = denied\n";
    let error = load(
        &["--listen=a", "--listen=unix:b", "--log-format=yaml"],
        &[("IMQUOTA_LISTEN", "c,unix:d"), ("IMQUOTA_APPLY_IN_FLIGHT_MAX", "many")],
        Some(file),
    );
    let error = error.expect_err("many errors");
    let expected = [
        "imquota.toml:1:9: store: must be a string, not 7",
        "imquota.toml:2:1: listn: unknown key; did you mean \"listen\"?",
        "imquota.toml:3:46: admin_listen[2]: must be a string, not 3",
        "imquota.toml:5:14: reflection: must be true or false, not \"yes\"",
        "imquota.toml:6:22: request_timeout_ms: must be a whole number, not \"5\"",
        "imquota.toml:8:14: string values must be quoted",
        "imquota.toml:9:15: string values must be quoted",
        "--listen: must be IP:PORT",
        "IMQUOTA_LISTEN: must be IP:PORT",
        "imquota.toml:3:32: admin_listen[1]: 10.0.0.1:2 can be reached from other machines",
        "--log-format: must be \"text\" or \"json\", not \"yaml\"",
        "imquota.toml:4:14: log_format: must be \"text\" or \"json\", not \"xml\"",
        "imquota.toml:7:20: drain_timeout_ms: must be a whole number of milliseconds from 0 to",
        "IMQUOTA_APPLY_IN_FLIGHT_MAX: must be a whole number from 1 to 10000, not \"many\"",
    ];
    assert_eq!(error.lines().count(), expected.len(), "{error}");
    for (line, expected) in error.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
    assert_eq!(
        load(&[], &[], Some("listen = []")).expect_err("nothing to listen on"),
        "imquota.toml:1:10: listen: must have at least one entry"
    );
}

#[test]
fn an_unknown_environment_variable_is_refused_with_a_suggestion() {
    let unknown = "unknown environment variable; ";
    for (name, hint) in [
        ("IMQUOTA_LISTN", "did you mean IMQUOTA_LISTEN?"),
        ("IMQUOTA_STORES", "did you mean IMQUOTA_STORE?"),
        ("IMQUOTA_LOG_FROMAT", "did you mean IMQUOTA_LOG_FORMAT?"),
        ("IMQUOTA_log_format", "did you mean IMQUOTA_LOG_FORMAT?"),
        ("IMQUOTA_REDIS_PASSWORD", "did you mean IMQUOTA_REDIS_PASSWORD_FILE?"),
        ("IMQUOTA_CONFG", "did you mean IMQUOTA_CONFIG?"),
        ("IMQUOTA_ZZZZZZ", "`imquota serve --help` lists the valid ones"),
        ("IMQUOTA_", "`imquota serve --help` lists the valid ones"),
        // Similar to the variables of Kubernetes.
        ("IMQUOTA_LISTEN_PORT", "`imquota serve --help` lists the valid ones"),
        ("IMQUOTA_PORT_x_TCP", "`imquota serve --help` lists the valid ones"),
    ] {
        let error = load(&[], &[(name, "1")], None).expect_err(name);
        assert_eq!(error, format!("{name}: {unknown}{hint}"));
        assert!(load(&[], &[(name, "")], None).is_ok(), "{name}: an empty one counts as absent");
    }
}

#[test]
fn variables_of_kubernetes_commands_and_other_programs_are_ignored() {
    // Set by kubelet: kubernetes.io/docs/tutorials/services/connect-applications-service.
    for service in ["IMQUOTA", "IMQUOTA_HEADLESS", "IMQUOTA_PORT", "IMQUOTA_ADMIN_2"] {
        let name = |rest: &str| format!("{service}_{rest}");
        let variables = [
            (name("SERVICE_HOST"), "10.0.162.149"),
            (name("SERVICE_PORT"), "50051"),
            (name("SERVICE_PORT_GRPC"), "50051"),
            (name("SERVICE_PORT_GRPC_ADMIN"), "50052"),
            (name("PORT"), "tcp://10.0.162.149:50051"),
            (name("PORT_50051_TCP"), "tcp://10.0.162.149:50051"),
            (name("PORT_50051_TCP_PROTO"), "tcp"),
            (name("PORT_50051_TCP_PORT"), "50051"),
            (name("PORT_50051_TCP_ADDR"), "10.0.162.149"),
            (name("PORT_53_UDP"), "udp://[fd00::1]:53"),
            (name("PORT_53_UDP_ADDR"), "fd00::1"),
        ];
        let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, *value)).collect();
        assert_eq!(load(&[], &variables, None), Ok(Config::default()), "{service}");
    }
    let others = [
        ("IMQUOTA_ADDRESS", "im:1"),
        ("IMQUOTA_ADMIN_ADDRESS", "im:2"),
        ("IMQUOTA_ADMIN_TOKEN", "imq_0"),
        ("IMQUOTAS", "1"),
        ("LISTEN", "1"),
    ];
    assert_eq!(load(&[], &others, None), Ok(Config::default()));
}

#[test]
fn consequences_of_an_error_are_not_reported() {
    const CA: &str = "--admin-tls-client-ca=Cargo.toml";
    let far = ["--admin-listen=0.0.0.0:1"];
    let (unknown, file) = ("unknown environment variable; did you mean", "/no/such-file");
    for (arguments, env, toml, mistake) in [
        // No caller can authenticate, since the file with the tokens is not found.
        (&far[..], ("IMQUOTA_ADMIN_TOKENS_FLIE", "t"), "", format!("_FLIE: {unknown}")),
        (&far, ("IMQUOTA_ADMIN_TOKENS_FILE", file), "", "must be a file that can be read".into()),
        (&far, ("", ""), "admin_tokens_fle = 't'", "unknown key; did you mean".into()),
        (&far, ("", ""), "admin_tokens_file = 7", "must be a string, not 7".into()),
        (&far, ("", ""), "admin_tokens_file = tokens", "string values must be quoted".into()),
        (&far, ("IMQUOTA_CONFG", "imquota.toml"), "", format!("_CONFG: {unknown}")),
        (&["--config=/no/such-file", far[0]], ("", ""), "", "cannot be read".into()),
        // The default in place of the misspelt setting conflicts with nothing.
        (
            &["--listen=127.0.0.1:50052"],
            ("IMQUOTA_ADMIN_LISTN", "127.0.0.1:50051"),
            "",
            format!("_LISTN: {unknown}"),
        ),
        // Two settings that are only valid together.
        (&["--tls-key=Cargo.toml"], ("IMQUOTA_TLS_CERT", file), "", "must be a file".into()),
        (&["--tls-client-ca=Cargo.toml"], ("IMQUOTA_TLS_CRT", "c"), "", unknown.into()),
        (&["--redis-tls-key=Cargo.toml"], ("IMQUOTA_REDIS_TLS_CERT", file), "", "must be".into()),
        (
            &["--webhook-secret-file=rustfmt.toml"],
            ("IMQUOTA_WEBHOOK_URL", "x"),
            "",
            "must be".into(),
        ),
        (
            &[CA, "--admin-tls-cert=Cargo.toml", "--admin-tls-key=Cargo.toml"],
            ("IMQUOTA_ADMIN_CLIENT_ROLES", "x"),
            "",
            "must be KIND:NAME=ROLE".into(),
        ),
        (
            &["--admin-client-roles=DNS:a=owner"],
            ("IMQUOTA_ADMIN_TLS_CLIENT_C", "x"),
            "",
            unknown.into(),
        ),
    ] {
        let env: &[_] = if env.0.is_empty() { &[] } else { &[env] };
        let toml = (!toml.is_empty()).then_some(toml);
        let error = load(arguments, env, toml).expect_err(&mistake);
        assert!(error.contains(&mistake), "{error}\n{mistake}");
        let ends = error.lines().count();
        assert_eq!(ends, 1, "{arguments:?} {env:?} {toml:?}\n{error}");
    }
    // Independent errors are reported.
    let error = load(&far, &[("IMQUOTA_LOG_FORMATS", "json")], None).expect_err("two mistakes");
    assert_eq!(error.lines().count(), 2, "{error}");
}
