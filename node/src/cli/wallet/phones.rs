//! The keys of a person's other phones: one is begun by another, a lost one is ended.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::json;
use wire::{Bytes, cbor};

use super::{KeyCommand, Report, Session, directory, hint, read_file, words};

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
            KeyCommand::Approve { source, file } => {
                let chain: Vec<Bytes> =
                    cbor::from_slice(&read_file(&file)?).context("not an exported chain")?;
                let trust = self.trust(&self.home()?).await?;
                let (nonce, now) = (self.nonce(), self.now());
                let begin = self.wallet.approve_key(&source, chain, &trust, nonce, now);
                let signed = self.sign(&source, begin.map_err(hint)?)?;
                let change = self.wallet.attest_with_service_key(&source, &signed)?;
                (source, change, "the key begins")
            }
            KeyCommand::End { source, key, keep } => {
                let keeps: BTreeSet<_> = keep.into_iter().collect();
                let (nonce, now) = (self.nonce(), self.now());
                let end = self.wallet.end_key(&source, key, &keeps, nonce, now).map_err(hint)?;
                let signed = self.sign(&source, end)?;
                let change = self.wallet.attest_with_service_key(&source, &signed)?;
                (source, change, "the key ends")
            }
        };
        let reply = self.home()?.key(&change).await?;
        Ok(Report {
            text: format!("{what} at {source}: {}\n", words::status(&reply.status)),
            json: serde_json::to_value(&reply)?,
        })
    }
}
