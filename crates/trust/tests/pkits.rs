//! NIST's Public Key Interoperability Test Suite (PKITS, version 1.0.1) against the path validation that this
//! crate uses. Its certificates and CRLs come with PyPI's `cryptography-vectors`; `scripts/pkits.sh` fetches
//! that and names the directory in `MEBUKU_PKITS`.
//!
//! Whether a path should hold is in the name of its end entity, or in [`settings`] where the suite varies the
//! inputs of RFC 5280 section 6.1.1. Every end entity is run, and every divergence is listed in
//! [`divergences`] with its reason: one that is not listed fails, and so does one that has gone.

#[path = "pkits/divergences.rs"]
mod divergences;
#[path = "pkits/settings.rs"]
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use certval::{
    CertificationPath, CertificationPathResults, CertificationPathSettings, CrlSource,
    PDVCertificate, PDVTrustAnchorChoice, PkiEnvironment, TimeOfInterest, check_revocation_local,
    compare_names,
};
use der::Decode;
use x509_cert::{
    certificate::Raw,
    crl::CertificateList,
    ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier},
    name::Name,
};

use divergences::Reason;
use settings::Inputs;

/// Within the validity of the suite's good certificates, and of their CRLs.
const AT: u64 = 1_700_000_000;
/// Longest path that is tried; the suite's longest has seven certificates.
const LONGEST: usize = 8;

struct Certificate {
    file: String,
    der: Vec<u8>,
    subject: Name,
    issuer: Name,
    subject_key: Option<Vec<u8>>,
    issuer_key: Option<Vec<u8>>,
}

impl Certificate {
    /// The file's name where it cannot be read: then nothing that hangs from it holds.
    fn read(path: &Path) -> Result<Self, String> {
        let file = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let der = std::fs::read(path).expect("a certificate");
        // The suite has certificates that our profile does not take: this reader is the lenient one.
        let Ok(decoded) = x509_cert::certificate::CertificateInner::<Raw>::from_der(&der) else {
            return Err(file);
        };
        let tbs = decoded.tbs_certificate();
        let subject_key = tbs.get_extension::<SubjectKeyIdentifier>().ok().flatten();
        let issuer_key = tbs.get_extension::<AuthorityKeyIdentifier>().ok().flatten();
        Ok(Self {
            file,
            subject: tbs.subject().clone(),
            issuer: tbs.issuer().clone(),
            subject_key: subject_key.map(|(_, key)| key.0.as_bytes().to_vec()),
            issuer_key: issuer_key
                .and_then(|(_, key)| key.key_identifier)
                .map(|key| key.as_bytes().to_vec()),
            der,
        })
    }

    fn is_issued_by(&self, issuer: &Self) -> bool {
        let same_key = match (&self.issuer_key, &issuer.subject_key) {
            (Some(named), Some(key)) => named == key,
            _ => true,
        };
        same_key && compare_names(&self.issuer, &issuer.subject)
    }
}

/// CRLs by the encoded name of who issued them.
struct Crls(Vec<(Name, Vec<u8>)>);

impl CrlSource for Crls {
    fn get_all_crls(&self) -> certval::Result<Vec<Vec<u8>>> {
        Ok(self.0.iter().map(|(_, der)| der.clone()).collect())
    }

    fn get_crls(&self, of: &PDVCertificate) -> certval::Result<Vec<Vec<u8>>> {
        let issuer = of.decoded().tbs_certificate().issuer();
        let theirs = self.0.iter().filter(|(name, _)| compare_names(name, issuer));
        Ok(theirs.map(|(_, der)| der.clone()).collect())
    }

    fn add_crl(&self, _: &[u8], _: &CertificateList<Raw>, _: &str) -> certval::Result<()> {
        Ok(())
    }
}

struct Suite {
    certificates: Vec<Certificate>,
    /// Files that no certificate can be read from.
    unreadable: Vec<String>,
    anchor: Certificate,
    crls: Vec<(Name, Vec<u8>)>,
}

impl Suite {
    fn read(folder: &Path) -> Self {
        let files = |kind: &str, ending: &str| -> Vec<PathBuf> {
            let all = std::fs::read_dir(folder.join(kind)).expect("a folder of the suite");
            let mut all: Vec<_> = all.map(|file| file.expect("a file").path()).collect();
            all.retain(|path| path.extension().is_some_and(|extension| extension == ending));
            all.sort();
            all
        };
        let (mut certificates, mut unreadable) = (Vec::new(), Vec::new());
        for path in files("certs", "crt") {
            match Certificate::read(&path) {
                Ok(certificate) => certificates.push(certificate),
                Err(file) => unreadable.push(file),
            }
        }
        let at = certificates.iter().position(|c| c.file == "TrustAnchorRootCertificate");
        let anchor = certificates.remove(at.expect("the suite's anchor"));
        let crl = |path: &PathBuf| {
            let der = std::fs::read(path).expect("a CRL");
            let list = CertificateList::<Raw>::from_der(&der).ok()?;
            Some((list.tbs_cert_list.issuer.clone(), der))
        };
        let crls = files("crls", "crl").iter().filter_map(crl).collect();
        Self { certificates, unreadable, anchor, crls }
    }

    /// All paths from an end entity (first) to below the anchor.
    fn paths<'a>(&'a self, leaf: &'a Certificate) -> Vec<Vec<&'a Certificate>> {
        let (mut whole, mut open) = (Vec::new(), vec![vec![leaf]]);
        while let Some(path) = open.pop() {
            let top = path[path.len() - 1];
            if top.is_issued_by(&self.anchor) {
                whole.push(path.clone());
            }
            if path.len() == LONGEST {
                continue;
            }
            for issuer in &self.certificates {
                let used = path.iter().any(|used| used.der == issuer.der);
                if !used && top.is_issued_by(issuer) {
                    open.push([&path[..], &[issuer]].concat());
                }
            }
        }
        whole
    }

    fn holds(&self, path: &[&Certificate], inputs: &Inputs) -> Result<(), String> {
        let parse = |c: &&Certificate| {
            PDVCertificate::try_from(&c.der[..]).map_err(|error| format!("{}: {error}", c.file))
        };
        let anchor = PDVTrustAnchorChoice::try_from(&self.anchor.der[..]).expect("the anchor");
        let mut chain = path.iter().rev().map(parse).collect::<Result<Vec<_>, _>>()?;
        let target = chain.pop().expect("an end entity");
        let path = CertificationPath::new(anchor, chain, target);
        let mut environment = PkiEnvironment::new();
        environment.populate_5280_pki_environment();
        environment.add_crl_source(Box::new(Crls(self.crls.clone())));
        let mut settings = CertificationPathSettings::new();
        settings.set_time_of_interest(TimeOfInterest::from_unix_secs(AT).expect("a time"));
        settings.set_require_ta_store(false);
        settings.set_enforce_trust_anchor_constraints(true);
        settings.set_initial_explicit_policy_indicator(inputs.explicit_policy);
        settings.set_initial_policy_mapping_inhibit_indicator(inputs.inhibit_mapping);
        settings.set_initial_inhibit_any_policy_indicator(inputs.inhibit_any_policy);
        if !inputs.policies.is_empty() {
            settings.set_initial_policy_set_from_oid_set(inputs.policy_set());
        }
        settings.set_check_revocation_status(true);
        settings.set_check_crls(true);
        let mut results = CertificationPathResults::new();
        let validated = environment.validate_path(&environment, &settings, &path, &mut results);
        validated.map_err(|error| error.to_string())?;
        check_revocation_local(&environment, &settings, &path, &mut results)
            .map_err(|error| error.to_string())
    }

    /// Whether any path of this end entity holds; if not, why the last one did not.
    fn outcome(&self, file: &str, inputs: &Inputs) -> Result<(), String> {
        let Some(leaf) = self.certificates.iter().find(|certificate| certificate.file == file)
        else {
            return Err("it cannot be read".to_owned());
        };
        let mut reason = "no path leads to the anchor".to_owned();
        for path in self.paths(leaf) {
            match self.holds(&path, inputs) {
                Ok(()) => return Ok(()),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }
}

#[test]
fn pkits() {
    let Some(folder) = std::env::var_os("MEBUKU_PKITS") else {
        println!("PKITS was NOT run: scripts/pkits.sh gets it and runs this");
        return;
    };
    let suite = Suite::read(Path::new(&folder));
    let all = suite.certificates.iter().map(|certificate| &certificate.file);
    let leaves: Vec<_> = all.chain(&suite.unreadable).filter(|file| file.ends_with("EE")).collect();
    assert_eq!(leaves.len(), 223, "end entities of version 1.0.1");
    let listed: BTreeMap<_, _> = divergences::LISTED.iter().copied().collect();
    assert_eq!(listed.len(), divergences::LISTED.len(), "each stands once");
    let (mut as_expected, mut diverged, mut faults) = (0, BTreeSet::new(), Vec::new());
    for leaf in &leaves {
        for (test, inputs, expected) in settings::of(leaf) {
            let outcome = suite.outcome(leaf, &inputs);
            if outcome.is_ok() == expected {
                as_expected += 1;
                continue;
            }
            let accepted = outcome.is_ok();
            let seen = outcome.err().unwrap_or_else(|| "ACCEPTED".to_owned());
            match listed.get(&*test) {
                // Too strict is a nuisance; too lenient is said once more.
                Some(reason) if !accepted || *reason == Reason::DeltaCrl => {
                    println!("diverges: {test}: {seen} ({reason:?})");
                    diverged.insert(test);
                }
                _ => faults.push(format!("{test}: expected {expected}, got: {seen}")),
            }
        }
    }
    let gone = listed.keys().filter(|test| !diverged.contains(**test));
    faults.extend(gone.map(|test| format!("{test}: listed, and no longer diverges")));
    // Every certificate of the suite is an end entity that was run, or is on a path to one.
    let on_paths: BTreeSet<_> = suite
        .certificates
        .iter()
        .filter(|certificate| certificate.file.ends_with("EE"))
        .flat_map(|leaf| suite.paths(leaf).into_iter().flatten())
        .map(|certificate| certificate.file.clone())
        .collect();
    let unused = suite.certificates.iter().map(|c| &c.file).filter(|file| {
        !on_paths.contains(*file)
            && !file.ends_with("EE")
            && !divergences::NOT_ON_A_PATH.contains(&&***file)
    });
    faults.extend(unused.map(|file| format!("{file}: on no path")));
    println!("PKITS: {as_expected} as expected, {} divergences, all listed", diverged.len());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
