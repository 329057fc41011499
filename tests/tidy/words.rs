//! The words of `docs/glossary.md` are used: a list of words that prose does not contain, each with
//! its reason, a list of former names, and the beginnings of doc comments.

use std::path::Path;

use super::{files, names, none, read};

/// A word or phrase in lower case, and the reason why prose does not contain it.
const WORDS: &[(&str, &str)] = &[
    ("he", "users and owners are they"),
    ("his", "users and owners are they"),
    ("him", "users and owners are they"),
    ("himself", "users and owners are they"),
    ("tell", "a machine returns, logs or publishes"),
    ("tells", "a machine returns, logs or publishes"),
    ("told", "a machine returns, logs or publishes"),
    ("know", "a machine has, stores or observes"),
    ("knows", "a machine has, stores or observes"),
    ("hear", "a machine receives"),
    ("hears", "a machine receives"),
    ("nobody", "name the subject: no caller, no user, no process"),
    ("whoever", "name the subject: each caller that"),
    ("whom", "name the subject: the users that"),
    ("so many", "name the number: that number of"),
    ("so long", "name the duration: for that time"),
];

/// A former name of the vocabulary, and the present one.
const FORMER_NAMES: &[(&str, &str)] = &[
    ("Office", "AdminService"),
    ("Previewed", "PreviewChange"),
    ("Ruling", "ItemResult"),
    ("Verdict", "ItemResult"),
    ("Breach", "Violation"),
    ("Notices", "EventBuffer"),
    ("Pump", "EventPublisher"),
    ("Happening", "EventKind"),
    ("Told", "Cursor or Delivered"),
    ("Lately", "DenialCache"),
    ("Stance", "FailMode"),
    ("Stances", "FailModes"),
    ("opens_something", "any_open"),
    ("hurried", "fail_fast"),
    ("Patience", "CallTimeout"),
    ("PATIENCE", "a constant named for its use"),
    ("Unsent", "NotSent"),
    ("is_passing", "is_transient"),
    ("may_pass", "is_transient"),
    ("senseless", "malformed_reply"),
    ("Scene", "ReplyContext"),
    ("Said", "ItemReply"),
    ("Risen", "ThresholdCrossed"),
    ("Assumed", "DryRun"),
    ("in_the_way", "violations"),
    ("open_patiently", "open_with_retry"),
    ("QuotaLater", "UnavailableQuota"),
    ("legible", "a name of diagnostics"),
    ("complain", "print_error"),
    ("racers", "concurrent_clients"),
];

/// The end of a path, a part of the line, and the reason why the line may contain a word.
const EXEMPT: &[(&str, &str, &str)] = &[("tidy/words.rs", "", "the lists themselves")];

/// Folders whose files keep their text, since they are those of an earlier version.
const FROZEN: &str = "scripts_before";

/// Doc lines in src that begin with a question word: some sentences need one.
const QUESTIONS_MAX: usize = 20;

/// Folders and endings of files with prose.
const PROSE: &[(&str, &str)] = &[
    ("src", "rs"),
    ("src", "lua"),
    ("tests", "rs"),
    ("tests", "py"),
    ("tests", "c"),
    ("benches", "rs"),
    ("benches", "md"),
    ("fuzz", "rs"),
    ("fuzz", "md"),
    ("proto", "proto"),
    ("deploy", "md"),
    ("deploy", "py"),
    ("deploy", "yaml"),
    ("deploy", "toml"),
];

/// Single files with prose, and folders that may be missing.
const MORE_PROSE: &[&str] = &["README.md", "docs", ".ci/run", "tests/run", "tests/servers/fetch"];

/// The prose of a line: all of Markdown, else comments and texts in quotation marks. `in_text` is
/// whether a docstring is open.
fn prose(line: &str, ending: &str, in_text: &mut bool) -> String {
    if ending == "md" {
        return line.to_owned();
    }
    let was_in_text = *in_text;
    if ending == "py" && line.matches("\"\"\"").count() % 2 == 1 {
        *in_text = !*in_text;
    }
    if was_in_text || line.contains("\"\"\"") {
        return line.to_owned();
    }
    let mark = match ending {
        "rs" | "proto" | "c" => "//",
        "lua" => "--",
        _ => "#",
    };
    if line.trim_start().starts_with("#[path") {
        return String::new();
    }
    let (code, comment) = line.split_once(mark).unwrap_or((line, ""));
    let quoted: Vec<_> = code.split('"').skip(1).step_by(2).collect();
    format!("{} {comment}", quoted.join(" "))
}

/// The words of the list in a prose text, with their reasons.
fn found(prose: &str) -> Vec<(&'static str, &'static str)> {
    let words: Vec<_> = prose
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let text = format!(" {} ", words.join(" "));
    WORDS.iter().filter(|(word, _)| text.contains(&format!(" {word} "))).copied().collect()
}

fn is_exempt(path: &Path, line: &str) -> bool {
    let path = path.to_string_lossy();
    path.contains(FROZEN)
        || EXEMPT.iter().any(|(end, part, _)| path.ends_with(end) && line.contains(part))
}

/// The places of a file with words of the list.
fn check_words(path: &Path, problems: &mut Vec<String>) {
    let ending = path.extension().map_or("", |ending| ending.to_str().unwrap_or_default());
    let mut in_text = false;
    for (number, line) in read(path).lines().enumerate() {
        for (word, reason) in found(&prose(line, ending, &mut in_text)) {
            if !is_exempt(path, line) {
                let place = format!("{}:{}", path.display(), number + 1);
                problems.push(format!("{place}: \"{word}\": {reason}"));
            }
        }
    }
}

#[test]
fn prose_uses_the_words_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut problems = Vec::new();
    for (folder, ending) in PROSE {
        for path in files(folder, ending) {
            if !path.components().any(|part| part.as_os_str() == "target") {
                check_words(&path, &mut problems);
            }
        }
    }
    for name in MORE_PROSE {
        let path = root.join(name);
        if path.is_dir() {
            for path in &files(name, "md") {
                check_words(path, &mut problems);
            }
        } else if path.exists() {
            check_words(&path, &mut problems);
        }
    }
    none(&problems);
}

#[test]
fn every_word_of_the_list_is_found_in_each_kind_of_prose() {
    for (word, _) in WORDS {
        let lines = [
            (format!("let a = 1; // The sidecar {word}, and ends."), "rs"),
            (format!("    panic!(\"{word}: a\")"), "rs"),
            (format!("local a = 1 -- {word} it"), "lua"),
            (format!("    \"\"\"Returns {word} a.\"\"\""), "py"),
            (format!("# Returns {word}."), ""),
            (format!("Some *{word}* here"), "md"),
        ];
        for (line, ending) in lines {
            let found = found(&prose(&line, ending, &mut false));
            assert!(found.iter().any(|(it, _)| it == word), "{word} in {line}");
        }
    }
    assert_eq!(found("the unknown theory is untold"), []);
    assert_eq!(found(&prose("let told = his.hear();", "rs", &mut false)), []);
}

#[test]
fn former_names_are_gone() {
    let mut problems = Vec::new();
    for path in super::rust_files() {
        if path.ends_with("tidy/words.rs") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            let code = super::code(line);
            for (former, present) in FORMER_NAMES {
                let ends = |at: usize| {
                    let next = code[at + former.len()..].chars().next();
                    !next.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
                };
                if names(code, former) && code.match_indices(former).any(|(at, _)| ends(at)) {
                    let place = format!("{}:{}", path.display(), number + 1);
                    problems.push(format!("{place}: {former} is {present} now"));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn doc_comments_begin_with_the_thing_and_not_with_a_question() {
    let mut questions = Vec::new();
    for path in files("src", "rs") {
        for (number, line) in read(&path).lines().enumerate() {
            let line = line.trim_start();
            let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
            let first = doc.and_then(|doc| doc.split_whitespace().next());
            if first.is_some_and(|first| ["What", "Who", "Whether"].contains(&first)) {
                questions.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(
        questions.len() < QUESTIONS_MAX,
        "{} lines:\n{}",
        questions.len(),
        questions.join("\n")
    );
}
