//! Notices, receipts of effect, consent requests and their answers.

use wire::{
    DecisionId, Hash,
    asking::{Answered, ConsentAnswer, ConsentRequest, WaitingRequests},
    channel::{ChannelReply, ChannelRequest},
    consent::{Onward, Uses, Window},
    notice::{
        Effect, EffectHow, EffectQuery, HistoryBatch, Notice, NoticeBatch, NoticeOutcome,
        NoticePush, PairHistory,
    },
};

use super::{consent::channel, *};

pub fn examples() -> Vec<Example> {
    [notices(), effects(), asking()].into_iter().flatten().collect()
}

fn released() -> Notice {
    Notice {
        seq: 7,
        subject: subject(0xa1),
        recipient: recipient(),
        items: vec!["health.allergy".parse().unwrap(), "health.condition".parse().unwrap()],
        purpose: Some("treatment".parse().unwrap()),
        first: NOON,
        last: NOON,
        count: 1,
        outcome: NoticeOutcome::Released {
            request: Hash([0x51; 32]),
            permits: vec![DecisionId([1; 32]), DecisionId([2; 32])],
        },
        salt: nonce(0x5a),
    }
}

fn refused() -> Notice {
    Notice {
        seq: 8,
        last: NOON.plus_ms(60_000),
        count: 40,
        outcome: NoticeOutcome::Refused("denied".parse().unwrap()),
        ..released()
    }
}

fn batch(notices: &[Notice]) -> NoticeBatch {
    let hashes = notices.iter().map(Notice::hash).collect();
    NoticeBatch { channel: channel(), first: 7, hashes, time: NOON }
}

fn notices() -> Vec<Example> {
    let both = vec![released(), refused()];
    let various = Notice { seq: 0, items: vec![], purpose: None, ..refused() };
    let push = |notices: Vec<Notice>| {
        let batch = attested(&batch(&notices));
        ChannelRequest::Notices(NoticePush { notices, batch })
    };
    let shown = HistoryBatch { batch: attested(&batch(&both)), notices: vec![refused()] };
    let history = PairHistory { batches: vec![shown], older: true };
    vec![
        plain("look-up-notice", "released", &released()),
        plain("look-up-notice", "refused", &refused()),
        plain("look-up-notice", "various", &various),
        signed("signed-notices", "full", &batch(&both)),
        signed("signed-notices", "minimal", &batch(&[])),
        plain("notices", "full", &batch(&both)),
        plain("channel-request", "notices-full", &push(both)),
        plain("channel-request", "notices-minimal", &push(vec![])),
        plain("channel-reply", "noted", &ChannelReply::Noted(9)),
        plain("pair-history", "full", &history),
        plain("pair-history", "minimal", &PairHistory { batches: vec![], older: false }),
    ]
}

pub fn effect() -> Effect {
    Effect {
        decision: DecisionId([3; 32]),
        pair: pair(),
        channel: Some(channel()),
        seq: Some(12),
        how: EffectHow::LeasesLapsed,
        since: NOON,
        log_index: None,
        time: NOON.plus_ms(1),
        present_consent_excepted: true,
    }
}

fn effects() -> Vec<Example> {
    let acknowledged =
        Effect { how: EffectHow::Acknowledged, present_consent_excepted: false, ..effect() };
    let direct = Effect {
        channel: None,
        seq: None,
        how: EffectHow::AtSource,
        log_index: Some(70_000),
        ..acknowledged.clone()
    };
    let query =
        EffectQuery { pair: pair(), decision: DecisionId([3; 32]), nonce: nonce(12), time: NOON };
    let early = EffectQuery { time: Timestamp(0), ..query.clone() };
    vec![
        signed("signed-effect", "full", &effect()),
        signed("signed-effect", "minimal", &direct),
        plain("effect", "leases-lapsed", &effect()),
        plain("effect", "acknowledged", &acknowledged),
        plain("effect", "at-source", &direct),
        signed("signed-effect-query", "full", &query),
        signed("signed-effect-query", "minimal", &early),
        plain("effect-query", "full", &query),
    ]
}

fn asking() -> Vec<Example> {
    let request = ConsentRequest {
        id: nonce(13),
        source: source(),
        recipient: recipient(),
        subject: subject(0xb2),
        items: vec!["health.allergy".parse().unwrap()],
        purpose: "treatment".parse().unwrap(),
        valid_days: 90,
        uses: Uses::Per { count: 3, period_ms: 86_400_000 },
        window: Some(Window { from: Timestamp(0), until: NOON }),
        retention_days: Some(365),
        onward: Onward::Allowed,
        text: "診療のために、アレルギー情報を受け取ります。".to_owned(),
        language: "ja".to_owned(),
        version: 2,
        issued: NOON,
        expires: NOON.plus_ms(30 * 24 * 3_600_000),
    };
    let minimal = ConsentRequest {
        uses: Uses::Once,
        window: None,
        retention_days: None,
        onward: Onward::Forbidden,
        ..request.clone()
    };
    let answer = |answer| ConsentAnswer {
        request: Hash([0x61; 32]),
        pair: Pair { source: recipient(), subject: subject(0xb2) },
        answer,
        time: NOON,
    };
    let waiting = WaitingRequests { requests: vec![attested(&request)] };
    vec![
        signed("signed-consent-request", "full", &request),
        signed("signed-consent-request", "minimal", &minimal),
        plain("consent-request", "full", &request),
        plain("consent-request", "minimal", &minimal),
        signed("signed-consent-answer", "full", &answer(Answered::Agreed)),
        signed("signed-consent-answer", "minimal", &answer(Answered::Declined)),
        plain("consent-answer", "agreed", &answer(Answered::Agreed)),
        plain("consent-answer", "declined", &answer(Answered::Declined)),
        plain("channel-request", "ask", &ChannelRequest::Ask(attested(&request))),
        plain(
            "channel-request",
            "answer",
            &ChannelRequest::Answer(attested(&answer(Answered::Agreed))),
        ),
        plain("channel-reply", "asked", &ChannelReply::Asked),
        plain("channel-reply", "answered", &ChannelReply::Answered),
        plain("waiting-requests", "full", &waiting),
        plain("waiting-requests", "minimal", &WaitingRequests { requests: vec![] }),
    ]
}
