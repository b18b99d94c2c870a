//! Steps 3, 5 and 6: what the citizen decides, who tries to decide for her, and taking it back.

use std::time::Duration;

use node::wallet_client::ClientError;
use tokio::time::Instant;
use wire::{
    DecisionId, NetworkId, Signed, Signer,
    citizen::{InForce, RecordSubmission},
    consent::{Attested, Decision},
};

use super::{Cast, Story};
use crate::{
    citizen::{Citizen, PhoneKey, nonce, now},
    founding::rogue_service_chain,
    processes::client,
};

/// A problem's own words, or what else went wrong.
fn reason<T>(result: Result<T, ClientError>) -> String {
    match result {
        Ok(_) => "it was taken".to_owned(),
        Err(ClientError::Problem(problem)) => problem.detail,
        Err(error) => error.to_string(),
    }
}

fn decision(submission: &Attested, network: &NetworkId) -> anyhow::Result<Decision> {
    Ok(Signed::<Decision>::decode(&submission.object, network)?.unverified().clone())
}

impl Story {
    pub(super) async fn decisions(
        &mut self,
        cast: &Cast,
        hanako: &mut Citizen,
    ) -> anyhow::Result<()> {
        println!(
            "\n3. Hanako permits Hospital A and denies Hospital B the same allergy 同意・拒否"
        );
        let permit = hanako.sign_permit(&cast.lunch, &cast.hospital_a, &[])?;
        hanako.hand_in(&permit).await?;
        let deny = hanako.sign_deny(&cast.lunch, &cast.hospital_b)?;
        hanako.hand_in(&deny).await?;
        let view = hanako.until_in_force(&cast.lunch).await?;
        let decisions = view.rows().iter().filter(|row| row.decision().is_some()).count();
        self.check(
            decisions == 2,
            "both are in the register 同意台帳, signed by her, and in force at the source 発効",
        );
        Ok(())
    }

    pub(super) async fn mallory(
        &mut self,
        cast: &Cast,
        hanako: &mut Citizen,
    ) -> anyhow::Result<()> {
        println!("\n5. Mallory tries");
        let mut mallory = Citizen::enrol(&self.network, "mallory").await?;
        for service in [&cast.lunch, &cast.hospital_a] {
            mallory.join(service).await?;
        }
        mallory.link(&cast.lunch, &cast.hospital_a).await?;
        let victim = hanako.pair(&cast.lunch)?;

        let own = mallory.sign_permit(&cast.lunch, &cast.hospital_a, &[])?;
        let forged = Decision { pair: victim.clone(), ..decision(&own, &self.network.id)? };
        let forged = mallory.sign_forged(&cast.lunch, forged)?;
        let why = reason(mallory.hand_in(&forged).await);
        self.check(
            why.contains("another service id"),
            &format!("a permit with Hanako's service id in it: {why}"),
        );

        let submission = RecordSubmission {
            pair: victim.clone(),
            item: "health.allergy".parse()?,
            content: br#"{"resourceType":"AllergyIntolerance"}"#.to_vec().into(),
            nonce: nonce(),
            time: now(),
        };
        let signed = Signed::new(submission, &self.network.id, mallory.signer(&cast.lunch)?)?;
        let submission = mallory.wallet.attest_with_service_key(&cast.lunch, &signed)?;
        let lunch = self.network.node("lunch").public_url();
        let why = reason(mallory.submit_record(&lunch, &submission).await?);
        self.check(
            why.contains("another service id"),
            &format!("her record under Hanako's id: {why}"),
        );

        // Ebetsu's CA certifies a key for Hanako's service id, without Hanako.
        let key = PhoneKey::generate()?;
        let chain =
            rogue_service_chain(self.network.node("ebetsu"), &victim, &key.public_key(), now())?;
        let genuine = hanako.sign_permit(&cast.lunch, &cast.hospital_b, &[])?;
        let rogue = Decision { nonce: nonce(), ..decision(&genuine, &self.network.id)? };
        let rogue = Signed::new(rogue, &self.network.id, &key)?;
        let rogue = Attested { object: rogue.bytes().to_vec().into(), chain };
        let why = reason(hanako.hand_in(&rogue).await);
        self.check(
            why.contains("key-begin"),
            &format!("a certificate by another city's CA: {why}"),
        );

        let log =
            std::fs::read_to_string(self.network.node("maebashi").directory.join("node.log"))?;
        let told = log.contains("a submission was refused") && log.contains("another service id");
        self.check(told, "Maebashi's log says why, and names nobody");
        Ok(())
    }

    pub(super) async fn revocation(
        &mut self,
        cast: &Cast,
        hanako: &mut Citizen,
    ) -> anyhow::Result<()> {
        println!("\n6. Hanako takes it back: she denies Hospital A");
        let (milliseconds, deny) = self.deny_to_refusal(cast, hanako).await?;
        println!("   deny to refusal: {milliseconds:.1} ms");
        self.check(milliseconds < 10_000.0, "Hospital A's next request is refused");

        let permit = hanako.sign_permit(&cast.lunch, &cast.hospital_a, &[])?;
        hanako.hand_in(&permit).await?;
        hanako.until_in_force(&cast.lunch).await?;
        let answer =
            self.ask("hospital-a", &self.question(cast, &cast.hospital_a, hanako)?).await?;
        let still = answer.problem().as_deref() == Some("not-permitted");
        self.check(still, "a new permit that does not name this deny changes nothing");

        let permit = hanako.sign_permit(&cast.lunch, &cast.hospital_a, &[deny])?;
        hanako.hand_in(&permit).await?;
        hanako.until_in_force(&cast.lunch).await?;
        let answer =
            self.ask("hospital-a", &self.question(cast, &cast.hospital_a, hanako)?).await?;
        self.check(answer.status == 200, "one that names it reopens");
        Ok(())
    }

    /// From the wallet's signature to the first refusal, while Hospital A asks without a pause.
    async fn deny_to_refusal(
        &mut self,
        cast: &Cast,
        hanako: &Citizen,
    ) -> anyhow::Result<(f64, DecisionId)> {
        let hospital = client(self.network.node("hospital-a"));
        let question = self.question(cast, &cast.hospital_a, hanako)?;
        let asking = tokio::spawn(async move {
            loop {
                let question = node::provider_client::Question { id: nonce(), ..question.clone() };
                let answer = hospital.ask(&question).await?;
                if answer.problem().as_deref() == Some("not-permitted") {
                    return Ok::<_, anyhow::Error>(Instant::now());
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let deny = hanako.sign_deny(&cast.lunch, &cast.hospital_a)?;
        let signed = Instant::now();
        let reply = hanako.hand_in(&deny).await?;
        let told = signed.elapsed().as_secs_f64() * 1000.0;
        println!("   deny to acknowledgement, cosigned by witnesses: {told:.1} ms");
        let cosigned = reply.status != InForce::Durable;
        self.check(cosigned, "the deny is accepted: durable, and two other cities cosigned it");
        let refused = tokio::time::timeout(Duration::from_secs(20), asking).await???;
        Ok((refused.duration_since(signed).as_secs_f64() * 1000.0, reply.decision))
    }
}
