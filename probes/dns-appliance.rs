//! The appliance's library answers a question from the zones that are compiled into it.
//@ mirage-dns = { path = "ROOT/mirage-dns", default-features = false }

use dns_appliance::{Client, Service, Transport, ZONES_IMAGE};
use mirage_dns::client::Query;
use mirage_dns::name::NameBuf;
use mirage_dns::record::RecordType;
use mirage_dns::zone_set::ZoneSet;

/// Whether there is an answer to each of two questions.
pub fn run() -> bool {
    let Ok(zones) = ZoneSet::from_bytes(ZONES_IMAGE) else {
        return false;
    };
    let service = Service::new(zones);
    asked(&service, "www.example.org", Transport::Udp)
        && asked(&service, "a.dyn.example.org", Transport::Tcp)
}

fn asked(service: &Service<'_>, text: &str, transport: Transport) -> bool {
    let Ok(name) = NameBuf::from_text(text) else {
        return false;
    };
    let query = Query::new(7, name.as_name(), RecordType::A);
    let (mut request, mut out) = ([0; 512], [0; 1232]);
    let Ok(length) = query.write(&mut request) else {
        return false;
    };
    let client = Client {
        address: [192, 0, 2, 1].into(),
        transport,
        now: 0,
    };
    let Some(length) = service.answer(&client, &request[..length], &mut out) else {
        return false;
    };
    query
        .accept(&out[..length])
        .is_ok_and(|reply| reply.header().answer_count > 0)
}
