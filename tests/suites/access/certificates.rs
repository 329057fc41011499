//! Certificates, made by the openssl command.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A certificate authority and its certificates, in a folder of its own.
pub struct Authority {
    folder: TempDir,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let root = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
                    -keyout ca.key -out ca.crt -subj /CN=ca";
        openssl(folder.path(), root);
        Self { folder }
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Issues a certificate for names such as `DNS:ann` or `URI:spiffe://a/b`.
    pub fn certify(&self, file: &str, names: &str) -> Pair {
        let folder = self.folder.path();
        std::fs::write(folder.join("ext"), format!("subjectAltName={names}\n")).expect("written");
        openssl(
            folder,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {file}.key \
                 -out {file}.csr -subj /CN={file}"
            ),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
                 -out {file}.crt -extfile ext"
            ),
        );
        let [certificate, key] = ["crt", "key"].map(|end| folder.join(format!("{file}.{end}")));
        Pair { certificate, key }
    }
}

impl Pair {
    /// Replaces the files of another pair.
    pub fn replace(&self, other: &Self) {
        std::fs::copy(&self.certificate, &other.certificate).expect("copied");
        std::fs::copy(&self.key, &other.key).expect("copied");
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
