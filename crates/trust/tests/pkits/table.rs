//! The tests of PKITS, read from `table.txt`: which certificates make the path, which CRLs go with
//! it, under which inputs of RFC 5280 section 6.1.1 it is validated, and what must come of it.

use certval::ObjectIdentifierSet;
use const_oid::ObjectIdentifier;

const TABLE: &str = include_str!("table.txt");

/// NIST-test-policy-1 is `.1` below this, and so on.
const TEST_POLICIES: &str = "2.16.840.1.101.3.2.1.48";
const ANY_POLICY: ObjectIdentifier = const_oid::db::rfc5280::ANY_POLICY;

/// One path under one set of inputs. PKITS validates some paths under several.
#[derive(Debug)]
pub(crate) struct Run {
    /// As PKITS counts, with the number of the run behind it where a test has several: `4.8.1.2`.
    pub(crate) number: String,
    pub(crate) test: String,
    /// Certificates from below the anchor down to the end entity; file names without `.crt`.
    pub(crate) path: Vec<&'static str>,
    /// File names without `.crl`, beside that of the anchor.
    pub(crate) crls: Vec<String>,
    /// Certificates that only sign CRLs.
    pub(crate) crl_signers: Vec<&'static str>,
    pub(crate) inputs: Inputs,
    pub(crate) expected: Expected,
}

#[derive(Debug, Default)]
pub(crate) struct Inputs {
    policies: Vec<u8>,
    pub(crate) explicit_policy: bool,
    pub(crate) inhibit_mapping: bool,
    pub(crate) inhibit_any_policy: bool,
}

impl Inputs {
    pub(crate) fn policy_set(&self) -> ObjectIdentifierSet {
        if self.policies.is_empty() {
            return ObjectIdentifierSet::from([ANY_POLICY]);
        }
        let policy = |n: &u8| ObjectIdentifier::new(&format!("{TEST_POLICIES}.{n}")).unwrap();
        self.policies.iter().map(policy).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Valid,
    /// Refused, and for what, as certval names it: another reason is another result.
    Invalid(&'static str),
}

/// All runs, in the order of PKITS.
pub(crate) fn runs() -> Vec<Run> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(read_test).collect()
}

fn read_test(line: &'static str) -> Vec<Run> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [test, path, revocation, runs] = fields[..] else { panic!("not four fields: {line}") };
    let path: Vec<&str> = path.split(' ').collect();
    let (_, cas) = path.split_last().unwrap();
    let mut crls = Vec::new();
    let mut crl_signers = Vec::new();
    match revocation {
        // Each CA's own, which is what most tests have.
        "" => {
            let crl = |ca: &&str| format!("{}CRL", ca.strip_suffix("Cert").unwrap());
            crls = cas.iter().map(crl).collect();
        }
        "-" => {}
        _ => {
            for name in revocation.split(' ') {
                if name.ends_with("Cert") { crl_signers.push(name) } else { crls.push(name.into()) }
            }
        }
    }
    let runs: Vec<&str> = runs.split(',').map(str::trim).collect();
    let several = runs.len() > 1;
    runs.into_iter()
        .enumerate()
        .map(|(position, run)| {
            let (expected, inputs) = read_run(run);
            Run {
                number: if several { format!("{test}.{}", position + 1) } else { test.to_owned() },
                test: test.to_owned(),
                path: path.clone(),
                crls: crls.clone(),
                crl_signers: crl_signers.clone(),
                inputs,
                expected,
            }
        })
        .collect()
}

fn read_run(run: &'static str) -> (Expected, Inputs) {
    let mut words = run.split(' ');
    let expected = match words.next().unwrap() {
        "valid" => Expected::Valid,
        status => Expected::Invalid(status),
    };
    let mut inputs = Inputs::default();
    for word in words {
        match word {
            "explicit" => inputs.explicit_policy = true,
            "inhibit-mapping" => inputs.inhibit_mapping = true,
            "inhibit-any" => inputs.inhibit_any_policy = true,
            policy => inputs.policies.push(policy.parse().unwrap()),
        }
    }
    (expected, inputs)
}
