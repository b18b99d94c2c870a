//! Who takes part: four real municipalities by their corporate numbers, five made-up providers.

use wire::{OrganisationId, ServiceName, membership::Role};

/// One organisation of the testnet.
pub struct Participant {
    /// Name of its directory.
    pub key: &'static str,
    /// Shown to people.
    pub name: &'static str,
    /// The corporate number without its check digit.
    base: &'static str,
    /// Short name and title of its service; municipalities have none here.
    pub service: Option<(&'static str, &'static str)>,
}

pub const CITIES: [Participant; 4] = [
    city("maebashi", "前橋市 Maebashi", "000020102016"),
    city("ebetsu", "江別市 Ebetsu", "000020012173"),
    city("omura", "大村市 Omura", "000020422053"),
    city("kadoma", "門真市 Kadoma", "000020272230"),
];

// Numbers that the register of corporate numbers does not give out.
pub const PROVIDERS: [Participant; 5] = [
    provider("lunch", "学校給食 School lunch", "990000000001", "lunch", "学校給食サービス"),
    provider("clinic", "前橋診療所 Clinic", "990000000002", "clinic", "診療所 受付"),
    provider("hospital-a", "A病院 Hospital A", "990000000003", "reception", "A病院 受付"),
    provider("hospital-b", "B病院 Hospital B", "990000000004", "reception", "B病院 受付"),
    provider("bank", "銀行 Bank", "990000000005", "accounts", "口座サービス"),
];

const fn city(key: &'static str, name: &'static str, base: &'static str) -> Participant {
    Participant { key, name, base, service: None }
}

const fn provider(
    key: &'static str,
    name: &'static str,
    base: &'static str,
    service: &'static str,
    title: &'static str,
) -> Participant {
    Participant { key, name, base, service: Some((service, title)) }
}

impl Participant {
    pub fn organisation(&self) -> OrganisationId {
        OrganisationId::from_base(self.base).expect("the roster's numbers are twelve digits")
    }

    pub fn service_name(&self) -> Option<ServiceName> {
        let (short, _) = self.service?;
        let name = format!("{}/{short}", self.organisation());
        Some(name.parse().expect("the roster's services are well named"))
    }

    pub fn roles(&self) -> &'static [Role] {
        match self.service {
            None => &[Role::Home, Role::Issuer],
            Some(_) => &[Role::Source, Role::Recipient],
        }
    }

    pub fn is_city(&self) -> bool {
        self.service.is_none()
    }
}

pub fn everyone() -> impl Iterator<Item = &'static Participant> {
    CITIES.iter().chain(&PROVIDERS)
}

/// The key of the city with this corporate number.
pub fn city_key(organisation: &OrganisationId) -> Option<&'static str> {
    CITIES.iter().find(|city| city.organisation() == *organisation).map(|city| city.key)
}

/// The service of a provider by its directory's name.
pub fn service(key: &str) -> ServiceName {
    let found = PROVIDERS.iter().find(|provider| provider.key == key);
    found.and_then(Participant::service_name).expect("a provider of the roster")
}
