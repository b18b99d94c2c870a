//! The inputs of RFC 5280 section 6.1.1 for each test, and whether the path should hold with them.

use std::collections::BTreeSet;

use const_oid::ObjectIdentifier;

/// NIST-test-policy-n is this arc with n.
const TEST_POLICY: &str = "2.16.840.1.101.3.2.1.48";

#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Numbers of NIST's test policies; none for any policy.
    pub policies: &'static [u32],
    pub explicit_policy: bool,
    pub inhibit_mapping: bool,
    pub inhibit_any_policy: bool,
}

impl Inputs {
    pub fn policy_set(&self) -> BTreeSet<ObjectIdentifier> {
        let policy =
            |number: &u32| ObjectIdentifier::new_unwrap(&format!("{TEST_POLICY}.{number}"));
        self.policies.iter().map(policy).collect()
    }
}

const fn any() -> Inputs {
    Inputs {
        policies: &[],
        explicit_policy: false,
        inhibit_mapping: false,
        inhibit_any_policy: false,
    }
}

const fn of_policies(policies: &'static [u32]) -> Inputs {
    Inputs { policies, ..any() }
}

const fn explicit(policies: &'static [u32]) -> Inputs {
    Inputs { policies, explicit_policy: true, ..any() }
}

type Variants = &'static [(Inputs, bool)];

/// Sections 4.8, 4.10 and 4.12, where a test has several inputs or its name does not say what is expected.
const VARIED: &[(&str, Variants)] = &[
    (
        "ValidCertificatePathTest1EE",
        &[
            (any(), true),
            (explicit(&[]), true),
            (explicit(&[1]), true),
            (explicit(&[2]), false),
            (explicit(&[1, 2]), true),
        ],
    ),
    ("AllCertificatesNoPoliciesTest2EE", &[(any(), true), (explicit(&[]), false)]),
    (
        "DifferentPoliciesTest3EE",
        &[(any(), true), (explicit(&[]), false), (explicit(&[1, 2]), false)],
    ),
    ("DifferentPoliciesTest4EE", &[(any(), false)]),
    ("DifferentPoliciesTest5EE", &[(any(), false)]),
    (
        "OverlappingPoliciesTest6EE",
        &[(any(), true), (of_policies(&[1]), true), (of_policies(&[2]), false)],
    ),
    ("DifferentPoliciesTest7EE", &[(any(), false)]),
    ("DifferentPoliciesTest8EE", &[(any(), false)]),
    ("DifferentPoliciesTest9EE", &[(any(), false)]),
    (
        "AllCertificatesSamePoliciesTest10EE",
        &[(any(), true), (of_policies(&[1]), true), (of_policies(&[2]), true)],
    ),
    ("AllCertificatesanyPolicyTest11EE", &[(any(), true), (of_policies(&[1]), true)]),
    ("DifferentPoliciesTest12EE", &[(any(), false)]),
    (
        "AllCertificatesSamePoliciesTest13EE",
        &[(of_policies(&[1]), true), (of_policies(&[2]), true), (of_policies(&[3]), true)],
    ),
    ("AnyPolicyTest14EE", &[(of_policies(&[1]), true), (of_policies(&[2]), false)]),
    ("UserNoticeQualifierTest15EE", &[(any(), true)]),
    ("UserNoticeQualifierTest16EE", &[(any(), true)]),
    ("UserNoticeQualifierTest17EE", &[(any(), true)]),
    ("UserNoticeQualifierTest18EE", &[(of_policies(&[1]), true), (of_policies(&[2]), true)]),
    ("UserNoticeQualifierTest19EE", &[(any(), true)]),
    ("CPSPointerQualifierTest20EE", &[(any(), true)]),
    (
        "ValidPolicyMappingTest1EE",
        &[
            (of_policies(&[1]), true),
            (of_policies(&[2]), false),
            (Inputs { inhibit_mapping: true, ..any() }, false),
        ],
    ),
    ("ValidPolicyMappingTest3EE", &[(of_policies(&[1]), false), (of_policies(&[2]), true)]),
    ("ValidPolicyMappingTest5EE", &[(of_policies(&[1]), true), (of_policies(&[6]), false)]),
    ("ValidPolicyMappingTest6EE", &[(of_policies(&[1]), true), (of_policies(&[6]), false)]),
    ("ValidPolicyMappingTest12EE", &[(of_policies(&[1]), true), (of_policies(&[2]), true)]),
    (
        "inhibitAnyPolicyTest3EE",
        &[(any(), true), (Inputs { inhibit_any_policy: true, ..any() }, false)],
    ),
];

/// The tests of one end entity: how each is called here, its inputs, and whether the path should hold.
pub fn of(file: &str) -> Vec<(String, Inputs, bool)> {
    let Some((_, variants)) = VARIED.iter().find(|(name, _)| *name == file) else {
        let expected = match (file.starts_with("Valid"), file.starts_with("Invalid")) {
            (true, false) => true,
            (false, true) => false,
            _ => panic!("{file}: nothing says what is expected"),
        };
        return vec![(file.to_owned(), any(), expected)];
    };
    let named = |(place, (inputs, expected)): (usize, &(Inputs, bool))| {
        (format!("{file}/{place}"), inputs.clone(), *expected)
    };
    (1..).zip(variants.iter()).map(named).collect()
}
