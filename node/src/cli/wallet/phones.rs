//! A person's other phones: one is begun by another, a lost one is ended, its keys at services and its
//! ID key.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use serde_json::json;
use wallet::RegisterView;
use wire::{Bytes, ServiceName, cbor, citizen::EnrolledIdKey};

use super::{IdCommand, KeyCommand, Report, Session, directory, hint, read_file, words};

impl Session<'_> {
    pub(super) async fn key(&mut self, command: KeyCommand) -> anyhow::Result<Report> {
        let (source, change, what) = match command {
            KeyCommand::Export { service, file } => {
                let own = self.wallet.service(&service).map_err(hint)?;
                directory::write_private(&file, &cbor::to_vec(&own.chain))?;
                let key = own.key.key_hash();
                return Ok(Report {
                    text: format!("wrote the chain of key {key} to {}\n", file.display()),
                    json: json!({ "service": service, "key": key }),
                });
            }
            KeyCommand::Approve { source, file, proxy_days } => {
                let chain: Vec<Bytes> =
                    cbor::from_slice(&read_file(&file)?).context("not an exported chain")?;
                let trust = self.trust(&self.home_of(&source)?).await?;
                let (nonce, now) = (self.nonce(), self.now());
                let begin = match proxy_days {
                    Some(days) => {
                        let until = now.plus_ms(u64::from(days) * wallet::decision::DAY_MS);
                        self.wallet.approve_proxy(&source, chain, until, &trust, nonce, now)
                    }
                    None => self.wallet.approve_key(&source, chain, &trust, nonce, now),
                };
                let signed = self.sign(&source, begin.map_err(hint)?)?;
                let change = self.wallet.attest_with_service_key(&source, &signed)?;
                (source, change, "the key begins")
            }
            KeyCommand::List { source } => {
                let view = self.register(&source).await?;
                return self.phones(&source, &view);
            }
            KeyCommand::End { source, key, keep, keep_none } => {
                // What the key permitted is shown first: only its citizen knows what shall go on.
                let view = self.register(&source).await?;
                let permits: Vec<_> = view.permits_of(&key).collect();
                if let Some(other) = keep.iter().find(|id| !permits.contains(id)) {
                    bail!("{other} is no permit of key {key}");
                }
                if !permits.is_empty() && keep.is_empty() && !keep_none {
                    let ids: Vec<_> = permits.iter().map(ToString::to_string).collect();
                    bail!(
                        "key {key} signed these permits:\n{}\nNothing was signed. Say with --keep \
                         ID which of them go on, or --keep-none for a lost phone.",
                        ids.join("\n")
                    );
                }
                let keeps: BTreeSet<_> = keep.into_iter().collect();
                let (nonce, now) = (self.nonce(), self.now());
                let end = self.wallet.end_key(&source, key, &keeps, nonce, now).map_err(hint)?;
                let signed = self.sign(&source, end)?;
                let change = self.wallet.attest_with_service_key(&source, &signed)?;
                (source, change, "the key ends")
            }
        };
        let reply = self.home_of(&source)?.key(&change).await?;
        Ok(Report {
            text: format!("{what} at {source}: {}\n", words::status(&reply.status)),
            json: serde_json::to_value(&reply)?,
        })
    }

    pub(super) async fn id(&mut self, command: IdCommand) -> anyhow::Result<Report> {
        let own = self.wallet.id().map_err(hint)?.key().key_hash();
        let (nonce, now) = (self.nonce(), self.now());
        let (keys, ended) = match command {
            IdCommand::List => {
                let query = self.wallet.id_query(nonce, now)?.sign(&*self.id_signer()?)?;
                (self.home()?.id_keys(&self.wallet.attest_with_id(&query)?).await?, None)
            }
            IdCommand::End { key } => {
                let end = self.wallet.end_id_key(key, nonce, now)?.sign(&*self.id_signer()?)?;
                (self.home()?.end_id_key(&self.wallet.attest_with_id(&end)?).await?, Some(key))
            }
        };
        self.wallet.check_id_keys(&keys, ended.as_ref())?;
        let mut text = String::new();
        for EnrolledIdKey { key, enrolled, ended } in &keys.keys {
            let whose = if *key == own { "this phone" } else { "another phone" };
            let state = match ended {
                Some(ended) => format!("ended {}", words::date(*ended)),
                None => format!("enrolled {}", words::date(*enrolled)),
            };
            text += &format!("{key}  {whose}, {state}\n");
        }
        if ended.is_some() {
            text += "It gets no certificate and no link any more. End its keys at each service, too: \
                     `key list SERVICE`, `key end SERVICE KEY`.\n";
        }
        Ok(Report { text, json: serde_json::to_value(&keys)? })
    }

    /// The keys of the pair, as the register says, and which of them is this phone's.
    fn phones(&self, source: &ServiceName, view: &RegisterView) -> anyhow::Result<Report> {
        let own = self.wallet.service(source).map_err(hint)?.key.key_hash();
        let (mut text, mut keys) = (String::new(), Vec::new());
        let pair = view.pair();
        for (key, begun) in &pair.keys {
            let ended = pair.ended.contains_key(key);
            let permits: Vec<_> = view.permits_of(key).collect();
            let whose = if *key == own { "this phone" } else { "another phone" };
            let state = if ended { "ended" } else { "may permit" };
            let basis = words::basis(begun.basis);
            text += &format!(
                "{key}  {whose}{basis}, {state} until {}, {} permits\n",
                words::date(begun.until),
                permits.len()
            );
            keys.push(json!({
                "key": key, "this_phone": *key == own, "basis": begun.basis, "ended": ended,
                "until": begun.until,
                "permits": permits,
            }));
        }
        Ok(Report { text, json: json!({ "source": source, "keys": keys }) })
    }
}
