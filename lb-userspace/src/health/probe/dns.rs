//! `dns`: a query (RFC 1035) over UDP, and over TCP if the answer does not fit and is looked at.

use std::str::FromStr as _;
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Found, Passed, Problem, shown, socket};
use crate::config::checks::{DnsProbe, Probe};

/// RFC 1035 4.2.1 allows 512 bytes without EDNS; some send more all the same.
const MAX_ANSWER: usize = 4096;

pub(super) async fn ask(probe: &Probe, dns: &DnsProbe) -> Found {
    let begun = Instant::now();
    let odd = |error: &dyn std::fmt::Display| Problem::failed(format!("no query can be made: {error}"));
    let name = Name::from_str(&dns.name).map_err(|error| odd(&error))?;
    let record_type = RecordType::from_str(&dns.record_type).map_err(|error| odd(&error))?;
    let mut query = Message::query();
    query.metadata.op_code = OpCode::Query;
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, record_type));
    let id = query.metadata.id;
    let bytes = query.to_vec().map_err(|error| odd(&error))?;
    let mut answer = over_udp(probe, &bytes, id).await?;
    if answer.metadata.truncation && dns.expect.is_some() {
        answer = over_tcp(probe, &bytes, id).await?;
    }
    let code = answer.metadata.response_code;
    if code != ResponseCode::NoError {
        return Err(Problem::failed(format!("DNS {} in {}", mnemonic(code), shown(begun.elapsed()))));
    }
    let text = format!("DNS NOERROR in {}", shown(begun.elapsed()));
    let Some(expected) = &dns.expect else { return Ok(Passed::new(text)) };
    let found: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    if found.iter().any(|found| is_same(found, expected)) {
        return Ok(Passed::new(text));
    }
    let found = if found.is_empty() {
        "there is no answer".to_owned()
    } else {
        format!("the answer is {}", found.join(", "))
    };
    Err(Problem::failed(format!("{text}, but {found}")))
}

/// Names are the same with and without the final dot, and whatever the case.
fn is_same(found: &str, expected: &str) -> bool {
    let plain = |text: &str| text.trim().trim_matches('"').trim_end_matches('.').to_lowercase();
    plain(found) == plain(expected)
}

async fn over_udp(probe: &Probe, query: &[u8], id: u16) -> Result<Message, Problem> {
    let socket = socket::datagrams(probe).await?;
    socket.send(query).await?;
    let mut buffer = [0; MAX_ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever else comes is late or forged; the answer may still come.
        if let Some(answer) = answer(buffer.get(..length).unwrap_or_default(), id) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(probe: &Probe, query: &[u8], id: u16) -> Result<Message, Problem> {
    let mut stream = socket::connect(probe).await?;
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    answer(&buffer, id).ok_or_else(|| Problem::failed("the answer is not DNS"))
}

fn answer(bytes: &[u8], id: u16) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let fits = message.metadata.id == id && message.metadata.message_type == MessageType::Response;
    fits.then_some(message)
}

/// The code's name in capitals, as `dig` prints it.
fn mnemonic(code: ResponseCode) -> String {
    match u16::from(code) {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        9 => "NOTAUTH".to_owned(),
        number => format!("error {number}"),
    }
}
