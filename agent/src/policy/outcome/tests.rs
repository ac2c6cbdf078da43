//! Verdicts beside outcomes: the whole matrix, and severities.

use super::*;
use crate::policy::{
    compiled::{Audit, Origin, PolicyId, ServiceIndex},
    judgement::MatchedRoute,
    raw::Amount,
    volume::Volume,
};

fn judgement(verdict: Verdict, reasons: Vec<Reason>, class: Option<Sensitivity>) -> Judgement {
    let route = MatchedRoute {
        id: "r".into(),
        template: "/".into(),
        operation_id: None,
        operation: None,
        sensitivity: class,
        volume: Volume::Full,
        params: Vec::new(),
    };
    Judgement {
        verdict,
        reasons,
        service: ServiceIndex(0),
        service_id: "s".into(),
        route: Some(route),
        rule: Origin::default(),
        required: Amount::default(),
        missing: Vec::new(),
        credential: None,
        policy: PolicyId::default(),
        client: None,
        audit: Audit::default(),
        advisory: false,
        path_ambiguous: false,
        host_unexpected: false,
        preflight: false,
    }
}

#[test]
fn verdict_and_status_make_a_finding() {
    let check = |verdict, status: &[u16], expected: Finding| {
        let judged = judgement(verdict, vec![Reason::Expired], None);
        for status in status {
            let status = Some(*status).filter(|it| *it > 0);
            assert_eq!(assess(&judged, status).finding, expected, "{verdict} {status:?}");
        }
    };
    check(Verdict::Allow, &[101, 200, 204, 302, 303, 304, 307], Finding::Normal);
    check(Verdict::Allow, &[401, 403, 407], Finding::PolicyDrift);
    check(Verdict::Allow, &[0, 400, 404, 500], Finding::FailedElsewhere);
    check(Verdict::Deny, &[101, 200, 206, 299, 304], Finding::EnforcementGap);
    check(Verdict::Deny, &[401, 403, 407], Finding::DeniedAsExpected);
    check(
        Verdict::Deny,
        &[0, 300, 301, 302, 303, 305, 307, 308, 400, 404, 500],
        Finding::DeniedElsewhere,
    );
    check(Verdict::Indeterminate, &[0, 200, 401, 500], Finding::Unassessed);
}

#[test]
fn severity_is_that_of_the_worst_reason_moved_by_the_data() {
    let check = |reasons: &[Reason], class, expected| {
        let judged = judgement(Verdict::Deny, reasons.to_vec(), class);
        assert_eq!(assess(&judged, Some(200)).severity, expected, "{reasons:?} {class:?}");
    };
    check(&[Reason::Expired], None, Severity::High);
    check(&[Reason::Expired], Some(Sensitivity::Public), Severity::Medium);
    check(&[Reason::Expired], Some(Sensitivity::Phi), Severity::Critical);
    check(&[Reason::SignatureBad], Some(Sensitivity::Secret), Severity::Critical);
    check(&[Reason::LifetimeExceeded], Some(Sensitivity::Public), Severity::Low);
    check(&[Reason::LifetimeExceeded, Reason::AuthTooOld], None, Severity::Medium);
    let mut suggested = judgement(Verdict::Deny, vec![Reason::Expired], None);
    suggested.advisory = true;
    assert_eq!(assess(&suggested, Some(200)).severity, Severity::Info);
    let denied = judgement(Verdict::Deny, vec![Reason::Expired], Some(Sensitivity::Phi));
    assert_eq!(assess(&denied, Some(401)).severity, Severity::Info);
}
