//! Certval as `trust::chain` sets it up, with what PKITS asks for beside it: RSA signatures, its
//! inputs in place of our policies, and revocation by the CRLs that a test comes with.

use certval::{
    CertificationPath, CertificationPathResults, CertificationPathSettings, CrlSource,
    PDVCertificate, PDVTrustAnchorChoice, PkiEnvironment, TimeOfInterest,
    enforce_trust_anchor_constraints, verify_signature_message_rust_crypto,
};
use x509_cert::{certificate::Raw, crl::CertificateList};

use super::{
    data::Data,
    table::{Inputs, Run},
};

/// 2020-01-01. PKITS counts on a moment between 2011 and 2030.
const AT: u64 = 1_577_836_800;

const ANCHOR: &str = "TrustAnchorRootCertificate.crt";
const ANCHOR_CRL: &str = "TrustAnchorRootCRL.crl";

/// Offers every CRL of a test for every certificate, also those that another CA signs: what a CRL
/// speaks for is for path validation to find out.
struct Given(Vec<Vec<u8>>);

impl CrlSource for Given {
    fn get_all_crls(&self) -> certval::Result<Vec<Vec<u8>>> {
        Ok(self.0.clone())
    }

    fn get_crls(&self, _: &PDVCertificate) -> certval::Result<Vec<Vec<u8>>> {
        Ok(self.0.clone())
    }

    fn add_crl(&self, _: &[u8], _: &CertificateList<Raw>, _: &str) -> certval::Result<()> {
        Ok(())
    }
}

/// What a path was refused for, as certval names it.
pub(crate) fn validate(run: &Run, data: &Data) -> Result<(), String> {
    let certificates: Vec<Vec<u8>> =
        run.path.iter().map(|name| data.read(&format!("{name}.crt"))).collect();
    let crls = run.crls.iter().map(|name| format!("{name}.crl")).chain([ANCHOR_CRL.to_owned()]);
    let crls = crls.map(|name| data.read(&name)).collect();
    // Certval takes the key that signs a CRL from the path: these it cannot be given.
    for name in &run.crl_signers {
        data.read(&format!("{name}.crt"));
    }
    let path = path(&data.read(ANCHOR), &certificates).map_err(|_| "Unreadable".to_owned())?;

    let mut environment = PkiEnvironment::new();
    environment.add_verify_signature_message_callback(verify_signature_message_rust_crypto);
    environment.add_validate_path_callback(certval::validate_path_rfc5280);
    environment.add_crl_source(Box::new(Given(crls)));
    check(&environment, &settings(&run.inputs), &path).map_err(|error| match error {
        certval::Error::PathValidation(status) => format!("{status:?}"),
        other => format!("{other:?}"),
    })
}

fn path(anchor: &[u8], certificates: &[Vec<u8>]) -> der::Result<CertificationPath> {
    let anchor = PDVTrustAnchorChoice::try_from(anchor)?;
    let parsed = certificates.iter().map(|der| PDVCertificate::try_from(der.as_slice()));
    let mut parsed = parsed.collect::<der::Result<Vec<_>>>()?;
    let target = parsed.pop().expect("a path has an end entity");
    Ok(CertificationPath::new(anchor, parsed, target))
}

fn check(
    environment: &PkiEnvironment,
    settings: &CertificationPathSettings,
    path: &CertificationPath,
) -> certval::Result<()> {
    let settings = enforce_trust_anchor_constraints(settings, &path.trust_anchor)?;
    let mut results = CertificationPathResults::new();
    environment.validate_path(environment, &settings, path, &mut results)?;
    certval::check_revocation_local(environment, &settings, path, &mut results)
}

fn settings(inputs: &Inputs) -> CertificationPathSettings {
    let mut settings = CertificationPathSettings::new();
    settings.set_time_of_interest(TimeOfInterest::from_unix_secs(AT).unwrap());
    settings.set_initial_policy_set_from_oid_set(inputs.policy_set());
    settings.set_initial_explicit_policy_indicator(inputs.explicit_policy);
    settings.set_initial_policy_mapping_inhibit_indicator(inputs.inhibit_mapping);
    settings.set_initial_inhibit_any_policy_indicator(inputs.inhibit_any_policy);
    settings.set_enforce_trust_anchor_constraints(true);
    settings.set_enforce_trust_anchor_validity(true);
    settings.set_require_ta_store(false);
    settings
}
