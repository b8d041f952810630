//! What is asked of a server, and how a call that it took is ended.

use super::answers::Answer;

/// Whom requests are to, and by which way.
#[derive(Debug, Clone)]
pub(super) struct Dialog {
    /// The Request-URI.
    uri: String,
    /// The values of Route.
    routes: Vec<String>,
    /// The value of To.
    to: String,
    /// Address and port of this end.
    own: String,
    /// Its Call-ID, and what is in its branches.
    id: String,
}

impl Dialog {
    /// A request of that method outside any dialog: to a user, or, of a REGISTER, to the domain about one (RFC 3261 10.2).
    pub(super) fn open(method: &str, user: &str, server: &str, own: String) -> Self {
        let address = format!("sip:{user}@{server}");
        let uri = if method == "REGISTER" { format!("sip:{server}") } else { address.clone() };
        // No token has the colons and brackets of an address.
        let port = own.rsplit(':').next().unwrap_or_default();
        let id = format!("edge-doctor-{}-{port}", std::process::id());
        Self { uri, routes: Vec::new(), to: format!("<{address}>"), own, id }
    }

    /// The same, to whom has answered with a failure: its ACK goes the way that the request went (RFC 3261 17.1.1.3).
    pub(super) fn refused(&self, answer: &Answer) -> Self {
        Self { to: answer.to.clone(), ..self.clone() }
    }

    /// The dialog that a 2xx has made (RFC 3261 12.1.2, 12.2.1.1).
    pub(super) fn accepted(&self, answer: &Answer) -> Self {
        let target = answer.contacts.first().map_or(&*self.uri, |contact| uri(contact)).to_owned();
        let mut routes: Vec<_> = answer.record_routes.iter().rev().cloned().collect();
        let uri = match routes.first() {
            // Who is first on the way is of the old kind, and is to find itself in the Request-URI.
            Some(first) if !is_loose(first) => {
                let first = uri(&routes.remove(0)).to_owned();
                routes.push(format!("<{target}>"));
                first
            }
            _ => target,
        };
        Self { uri, routes, ..self.refused(answer) }
    }

    /// A request. `line`: its Max-Forwards. Requests with the same `transaction` have the same branch (RFC 3261 8.1.1.7, 9.1,
    /// 17.1.1.3).
    pub(super) fn request(&self, method: &str, transaction: &str, number: u32, line: &str) -> String {
        let Self { uri, routes, to, own, id } = self;
        let routes: String = routes.iter().flat_map(|route| ["Route: ", route, "\r\n"]).collect();
        // Of a REGISTER it would bind somebody: without, it asks who is bound. A MESSAGE has none (RFC 3428 4).
        let contact = if method == "INVITE" {
            format!("Contact: <sip:edge-doctor@{own};transport=tcp>\r\n")
        } else {
            String::new()
        };
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/TCP {own};branch=z9hG4bK-{id}-{transaction}\r\n\
             {line}\r\n\
             {routes}From: <sip:edge-doctor@{own}>;tag=doctor\r\n\
             To: {to}\r\n\
             Call-ID: {id}\r\n\
             CSeq: {number} {method}\r\n\
             {contact}Content-Length: 0\r\n\r\n"
        )
    }
}

/// The URI of a Contact or a Route.
fn uri(value: &str) -> &str {
    let bare = || value.split(';').next().unwrap_or_default().trim();
    value.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or_else(bare, |(uri, _)| uri)
}

/// Whether a proxy on the way leaves the Request-URI alone (RFC 3261 19.1.1, lr).
fn is_loose(route: &str) -> bool {
    uri(route).split(';').skip(1).any(|parameter| {
        let name = parameter.split(['=', '?']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("lr")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(contacts: &[&str], record_routes: &[&str]) -> Dialog {
        let owned = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect();
        let (contacts, record_routes) = (owned(contacts), owned(record_routes));
        let answer = Answer { to: "<sip:a>;tag=x".into(), contacts, record_routes, ..Answer::default() };
        Dialog::open("INVITE", "user", "h:5060", "[::1]:9".into()).accepted(&answer)
    }

    #[test]
    fn a_dialog_goes_back_the_way_that_its_answer_came() {
        let dialog = accepted(&["\"b\" <sip:b@c;x=y>;expires=9"], &["<sip:near;lr>", "<sip:far;lr=on>"]);
        assert_eq!(dialog.uri, "sip:b@c;x=y");
        assert_eq!(dialog.routes, ["<sip:far;lr=on>", "<sip:near;lr>"]);
        let bye = dialog.request("BYE", "BYE", 2, "Max-Forwards: 70");
        assert!(bye.starts_with("BYE sip:b@c;x=y SIP/2.0\r\n"), "{bye}");
        assert!(bye.contains("\r\nRoute: <sip:far;lr=on>\r\nRoute: <sip:near;lr>\r\n"), "{bye}");
        assert!(bye.contains("\r\nTo: <sip:a>;tag=x\r\n") && !bye.contains("Contact"), "{bye}");
    }

    #[test]
    fn who_is_first_on_the_way_and_of_the_old_kind_is_asked_itself() {
        let dialog = accepted(&["sip:b@c;expires=9"], &["<sip:near;lr>", "<sip:far;x=lr>"]);
        assert_eq!(dialog.uri, "sip:far;x=lr");
        assert_eq!(dialog.routes, ["<sip:near;lr>", "<sip:b@c>"]);
    }

    #[test]
    fn without_contact_or_routes_it_goes_where_the_call_went() {
        let dialog = accepted(&[], &[]);
        assert_eq!((dialog.uri.as_str(), dialog.routes.len()), ("sip:user@h:5060", 0));
    }
}
