//! What the wallet holds, without asking anybody.

use serde_json::Value;
use wallet::Home;

use super::{Report, Session, json, words};

impl Session<'_> {
    pub(super) fn show(&self) -> anyhow::Result<Report> {
        let wallet = &self.wallet;
        let Home { organisation, url } = wallet.home();
        let mut text = format!("network  {}\nhome     {organisation} at {url}\n", wallet.network());
        let id = match wallet.id() {
            Ok(id) => {
                let until = words::date(id.not_after());
                text += &format!("number   {}, certified until {until}\n", id.number());
                json!({ "number": id.number(), "key": id.key().key_hash(), "not_after": id.not_after() })
            }
            Err(_) => {
                text += "number   none yet (`enrol`)\n";
                Value::Null
            }
        };
        let mut services = Vec::new();
        for (service, own) in wallet.services() {
            let begun = if own.begun { "" } else { ", may only deny yet" };
            let until = words::date(own.not_after);
            text += &format!("service  {service} as {}, until {until}{begun}\n", own.subject);
            let mut json = json::service_key(service, own);
            if let Some(pair) = wallet.pair_home(service) {
                if pair.home != *wallet.home() {
                    text += &format!("         its register is at {}\n", pair.home.organisation);
                }
                if let Some(moving) = &pair.moving {
                    let to = &moving.to.organisation;
                    text +=
                        &format!("         its move to {to} has not come to its end (`move`)\n");
                }
                json["home"] = json!(pair.home);
                json["epoch"] = json!(pair.epoch);
                json["moving"] = json!(pair.moving.as_ref().map(|moving| &moving.to));
            }
            services.push(json);
        }
        let mut links = Vec::new();
        for (source, recipients) in wallet.links() {
            for recipient in recipients.keys() {
                text += &format!("link     {source} to {recipient}\n");
                links.push(json!({ "source": source, "recipient": recipient }));
            }
        }
        let json = json!({
            "network": wallet.network(),
            "home": wallet.home(),
            "id": id,
            "services": services,
            "links": links,
        });
        Ok(Report { text, json })
    }
}
