use std::{fs, os::unix::fs::PermissionsExt};

use testnet::web::WebAuthority;

use super::*;

fn certify(authority: &WebAuthority, folder: &Path) -> TlsFiles {
    let (certificate, key) = authority.certify("localhost", folder).unwrap();
    TlsFiles { certificate, key }
}

#[test]
fn what_is_wrong_with_the_files_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = WebAuthority::found(folder.path()).unwrap();
    let files = certify(&authority, folder.path());
    files.open().unwrap();
    let refused = |files: &TlsFiles| files.open().unwrap_err().to_string();

    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&files).contains("everybody may read this key"));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    files.open().unwrap();

    let gone = folder.path().join("gone.pem");
    let without_key = TlsFiles { key: gone.clone(), ..files.clone() };
    assert!(refused(&without_key).contains("gone.pem: cannot be read"));
    let without_certificate = TlsFiles { certificate: gone, ..files.clone() };
    assert!(refused(&without_certificate).contains("gone.pem: cannot be read"));
    let mixed_up = TlsFiles { certificate: files.key.clone(), ..files.clone() };
    assert!(refused(&mixed_up).contains("no certificate in PEM"));

    let key = fs::read(&files.key).unwrap();
    fs::write(&files.key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n").unwrap();
    assert!(refused(&files).contains("no private key in PEM"));
    certify(&authority, folder.path());
    fs::write(&files.key, key).unwrap();
    assert!(refused(&files).contains("is not for the certificate in"));
}

#[test]
fn roots_come_from_the_file_that_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = WebAuthority::found(folder.path()).unwrap();
    TlsRoots::File(authority.file.clone()).client().unwrap();
    let missing = TlsRoots::File(folder.path().join("gone.pem")).client().unwrap_err();
    assert!(matches!(missing, TlsError::Read { .. }), "{missing}");
    fs::write(&authority.file, "nothing").unwrap();
    let empty = TlsRoots::File(authority.file).client().unwrap_err();
    assert!(empty.to_string().contains("no certificate in PEM"), "{empty}");
}
