//! `mebuku doctor`: looks at everything a node needs before it is started (or while it runs), and
//! says of each whether it is well and what to do if not.

use std::path::Path;

use anyhow::bail;
use trust::{Freshness, Trust};
use wire::membership::Role;

use crate::{
    certificates,
    clock::{Clock, SystemClock},
    config::Config,
    keys::{FileKeyStore, KeyName, KeyStore, Passphrase},
    provider_client::ProviderClient,
    run::read_trust,
};

struct Findings {
    bad: usize,
}

impl Findings {
    fn note(&mut self, what: &str, finding: Result<String, String>) {
        match finding {
            Ok(detail) => println!("  ok    {what}: {detail}"),
            Err(fault) => {
                self.bad += 1;
                println!("  WRONG {what}: {fault}");
            }
        }
    }
}

pub async fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let mut findings = Findings { bad: 0 };
    findings.note("configuration", Ok(format!("{} ({})", config.name, config.organisation)));
    check_trust(&config, &mut findings);
    check_keys(&config, &mut findings);
    check_store(&config, &mut findings);
    check_running(&config, &mut findings).await;
    if findings.bad > 0 {
        bail!("{} of the things looked at are wrong", findings.bad);
    }
    Ok(())
}

fn check_trust(config: &Config, findings: &mut Findings) {
    let now = SystemClock.now().wall;
    let opened = read_trust(&config.trust_file)
        .map_err(|error| error.to_string())
        .and_then(|file| Trust::open(&file, &config.network, now).map_err(|e| e.to_string()));
    let finding = opened.and_then(|trust| match trust.freshness(now) {
        Freshness::Fresh => Ok(format!("list version {}, fresh", trust.list().version)),
        Freshness::SoftExpired => Err("past its soft expiry: nobody new is admitted".to_owned()),
        Freshness::HardExpired => Err("past its hard expiry: the node stops".to_owned()),
    });
    findings.note("trust list", finding);
}

fn check_keys(config: &Config, findings: &mut Findings) {
    let opened = Passphrase::load(config.passphrase_file.as_deref())
        .and_then(|passphrase| FileKeyStore::open(config.keys_dir(), passphrase));
    let keys = match opened {
        Ok(keys) => keys,
        Err(error) => return findings.note("key store", Err(error.to_string())),
    };
    let mut certified = vec![KeyName::Organisation];
    if config.has_role(Role::Source) {
        certified.extend(config.service_names().iter().map(KeyName::credential));
    }
    for name in certified {
        let finding = keys.p256(&name).map_err(|error| error.to_string()).and_then(|signer| {
            let chain =
                certificates::read(&config.data_dir, &name).map_err(|error| error.to_string())?;
            if certificates::is_for(&chain, &signer.public_key()) {
                Ok("opens, and its certificate is for it".to_owned())
            } else {
                Err("its certificate is for another key".to_owned())
            }
        });
        findings.note(&format!("key {name}"), finding);
    }
    let log = keys.ed25519(&KeyName::Log).map(|_| "opens".to_owned());
    findings.note("key log", log.map_err(|error| error.to_string()));
    let transport = keys.transport_seed().map(|seed| crate::net::peer_id(*seed));
    findings.note("key transport", transport.map_err(|error| error.to_string()));
}

fn check_store(config: &Config, findings: &mut Findings) {
    let path = config.store_dir();
    let finding = if path.is_dir() {
        Ok(format!("{} is there", path.display()))
    } else {
        Ok(format!("{} will be made at the first start", path.display()))
    };
    findings.note("store", finding);
}

async fn check_running(config: &Config, findings: &mut Findings) {
    let client = ProviderClient::new(format!("http://{}", config.provider_listen), "");
    let finding = match client.get("/health").await {
        Ok(answer) if answer.status == 200 => Ok(answer.text()),
        Ok(answer) => Err(answer.text()),
        Err(_) => Ok("it does not run now".to_owned()),
    };
    findings.note("the node itself", finding);
}
