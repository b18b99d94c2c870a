//! One certificate of each kind that the network issues, for a linter to judge: `scripts/pkilint.sh` names the
//! directory in `MEBUKU_LINT`.

use trust::{
    LeafKind, Pointers, Validity, leaf,
    testing::{NOW, TestNetwork, TestSigner},
};
use wire::{Hash, ServiceId, ServiceName, Signer, membership::CaPurpose};

#[test]
fn one_of_each_kind() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let key = TestSigner::new(99).public_key();
    let service: ServiceName = format!("{}/lunch", city.organisation).parse().expect("a service");
    let (organisation, name) = (city.organisation.clone(), city.name.clone());
    let subject = ServiceId(Hash([7; 32]).0);
    let leaves = [
        ("id", LeafKind::Id { number: "A".repeat(43) }),
        ("service", LeafKind::Service { subject, service: service.clone() }),
        (
            "organisation",
            LeafKind::Organisation {
                organisation: organisation.clone(),
                name: name.clone(),
                services: vec![service.clone()],
            },
        ),
        ("credential", LeafKind::Credential { organisation, name, service }),
    ];
    // As a CA would say where its status is asked.
    let pointers = Pointers {
        crl: Some("http://ca.example.lg.jp/organisation.crl".to_owned()),
        ocsp: Some("http://ca.example.lg.jp/ocsp".to_owned()),
    };
    let validity = Validity { not_before: NOW, not_after: NOW.plus_ms(365 * 86_400_000) };
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("root-ca", city.root.certificate.clone()),
        ("citizen-ca", city.sub_ca(CaPurpose::Citizen).certificate.clone()),
        ("organisation-ca", city.sub_ca(CaPurpose::Organisation).certificate.clone()),
        ("credential-ca", city.sub_ca(CaPurpose::Credential).certificate.clone()),
    ];
    for (number, (name, kind)) in (1u8..).zip(leaves) {
        let ca = city.sub_ca(kind.kind().purpose()).ca();
        let der = leaf(&ca, &kind, &key, [number; 16], validity, &pointers);
        all.push((name, der.expect("a certificate")));
    }
    assert_eq!(all.len(), 8);
    let Some(folder) = std::env::var_os("MEBUKU_LINT") else {
        println!("not linted: scripts/pkilint.sh installs the linter and runs this");
        return;
    };
    for (name, der) in all {
        let path = std::path::Path::new(&folder).join(format!("{name}.der"));
        std::fs::write(path, der).expect("written");
    }
}
