//! Each probe against a server of the test's own.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

mod https;

use crate::config::Config;
use crate::health::core::Target;
use crate::plane::desired::{ServerKey, ServiceKey};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A check that is configured like this, of the address.
fn target(address: SocketAddr, check: &str) -> Target {
    let text = format!(
        "director = {{ interfaces = [\"eth0\"], router_id = \"a\" }}\n[[virtual_server]]\naddress = \"192.0.2.1:80\"\n\
         real_server = [{{ address = \"192.0.2.2\", check = [{{ {check} }}] }}]\n"
    );
    let config = Config::parse("test.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let mut check = config.virtual_servers[0].real_servers[0].health.checks[0].clone();
    check.probe.connect = address;
    let service = ServiceKey::new(config.virtual_servers[0].protocol, config.virtual_servers[0].address, 80);
    Target { service, server: ServerKey { address: address.ip(), port: address.port() }, check }
}

async fn made(address: SocketAddr, check: &str) -> (Verdict, String) {
    let outcome = make(&target(address, check), &Context::default()).await;
    (outcome.verdict, outcome.text)
}

/// Serves each connection by `serve`.
async fn server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A port where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind((LOCAL, 0)).await.unwrap().local_addr().unwrap()
}

/// Takes connections and says nothing.
async fn silent() -> SocketAddr {
    server(|stream| async move {
        let _kept = stream;
        std::future::pending::<()>().await;
    })
    .await
}

/// Answers each request with `answer`; {} is the request.
async fn web(answer: &'static str) -> SocketAddr {
    server(move |mut stream| async move {
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let request = String::from_utf8(request).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).replace("{}", &request);
        let head = answer.split_once("\r\n\r\n").map_or(answer, |(head, _)| head);
        let text = format!("{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        // Until the client has gone.
        drop(stream.read(&mut buffer).await);
    })
    .await
}

#[tokio::test]
async fn tcp() {
    let (verdict, text) = made(silent().await, "type = \"tcp\"").await;
    assert!(verdict == Verdict::Passed && text.starts_with("connected in "), "{text}");
    let refused = (Verdict::Failed, "connection refused".to_owned());
    assert_eq!(made(nobody().await, "type = \"tcp\"").await, refused);
    let foreign = "type = \"tcp\", source_address = \"192.0.2.77\"";
    let (verdict, text) = made(nobody().await, foreign).await;
    assert_eq!(
        (verdict, text.as_str()),
        (Verdict::Inconclusive, "not checked: cannot assign requested address")
    );
}

#[tokio::test]
async fn whoever_hangs_is_given_up() {
    for kind in ["http", "https", "smtp"] {
        let check = format!("type = \"{kind}\", timeout = \"200ms\"");
        let found = made(silent().await, &check).await;
        assert_eq!(found, (Verdict::Failed, "timed out after 200 ms".to_owned()), "{kind}");
    }
}

#[tokio::test]
async fn http_says_what_is_asked_and_judges_the_answer() {
    let echo = web("HTTP/1.1 200 OK\r\nserver: x\r\n\r\n{}").await;
    let cases = [
        ("body = \"GET / HTTP/1.1\\r\\n\"", ""),
        ("http_version = \"1.0\", body = \"GET / HTTP/1.0\\r\\n\"", ""),
        ("path = \"/a?b\", body = \"GET /a?b HTTP\"", ""),
        ("host = \"www.example.org:8080\", body = \"host: www.example.org:8080\\r\\n\"", ""),
        ("headers = { X-Who = \"me\" }, body = \"x-who: me\\r\\n\"", ""),
        ("body = \"user-agent: lbctl\\r\\n\"", ""),
        ("body_regex = '^GET / HTTP/1\\.[01]\\r\\n'", ""),
        ("body = \"POST\"", "but the body lacks \"POST\""),
        ("body_regex = '^POST'", "but the body does not match \"^POST\""),
        ("digest = \"d41d8cd98f00b204e9800998ecf8427e\"", "but the body's digest is "),
    ];
    for (keys, wrong) in cases {
        let (verdict, text) = made(echo, &format!("type = \"http\", {keys}")).await;
        assert!(text.starts_with("HTTP 200 in ") && text.contains(wrong), "{keys}: {text}");
        assert_eq!(verdict == Verdict::Passed, wrong.is_empty(), "{keys}: {text}");
    }
    let hello = web("HTTP/1.1 200 OK\r\n\r\nhello").await;
    for digest in [
        "5d41402abc4b2a76b9719d911017c592",
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    ] {
        let (verdict, text) = made(hello, &format!("type = \"http\", digest = \"{digest}\"")).await;
        assert_eq!(verdict, Verdict::Passed, "{text}");
    }
}

#[tokio::test]
async fn http_status_and_what_is_no_http() {
    let busy = web("HTTP/1.1 503 Busy\r\n\r\n").await;
    let (verdict, text) = made(busy, "type = \"http\"").await;
    assert!(
        verdict == Verdict::Failed && text.starts_with("HTTP 503 in ") && text.ends_with(" ms"),
        "{text}"
    );
    let (verdict, _) =
        made(busy, "type = \"http\", method = \"HEAD\", status = [\"500-503\", \"200\"]").await;
    assert_eq!(verdict, Verdict::Passed);
    let refused = made(nobody().await, "type = \"http\"").await;
    assert_eq!(refused, (Verdict::Failed, "connection refused".to_owned()));
    let odd = server(|mut stream| async move { stream.write_all(b"220 hello\r\n").await.unwrap() }).await;
    assert_eq!(made(odd, "type = \"http\"").await, (Verdict::Failed, "the answer is not HTTP".to_owned()));
    let closed = server(|stream| async move { drop(stream) }).await;
    let (verdict, text) = made(closed, "type = \"http\"").await;
    assert!(verdict == Verdict::Failed && text.starts_with("connection "), "{text}");
    let endless = server(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        let mut result = stream.write_all(head).await;
        while result.is_ok() {
            result = stream.write_all(&[b'a'; 65_536]).await;
        }
    })
    .await;
    let (verdict, text) = made(endless, "type = \"http\", body = \"b\"").await;
    assert_eq!((verdict, text.as_str()), (Verdict::Failed, "HTTP 200, but the body is larger than 1 MiB"));
}

#[tokio::test]
async fn redirections_are_followed_on_the_same_server_if_asked() {
    let away = web("HTTP/1.1 302 Found\r\nlocation: http://www.example.org/there\r\n\r\n").await;
    let (verdict, text) = made(away, "type = \"http\"").await;
    assert!(verdict == Verdict::Failed && text.starts_with("HTTP 302"), "{text}");
    let found = made(away, "type = \"http\", follow = true").await;
    assert_eq!(found, (Verdict::Failed, "more than 5 redirections".to_owned()));
    let tls = web("HTTP/1.1 301 Moved\r\nlocation: https://www.example.org/\r\n\r\n").await;
    let (_, text) = made(tls, "type = \"http\", follow = true").await;
    assert_eq!(text, "redirected to \"https://www.example.org/\", which is not followed");
    let chain = server(|mut stream| async move {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let answer = if request.starts_with("GET /a/c ") && request.contains("host: other\r\n") {
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        } else if request.starts_with("GET /a/b ") {
            "HTTP/1.1 302 Found\r\nlocation: http://other/a/c\r\ncontent-length: 0\r\n\r\n"
        } else {
            "HTTP/1.1 301 Moved\r\nlocation: /a/b\r\ncontent-length: 0\r\n\r\n"
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let (verdict, text) = made(chain, "type = \"http\", follow = true, body = \"ok\"").await;
    assert_eq!(verdict, Verdict::Passed, "{text}");
}

/// A mail server that says these lines, one after each line that it hears.
async fn mail(lines: &'static [&'static str]) -> SocketAddr {
    server(move |mut stream| async move {
        let mut buffer = [0; 1024];
        for line in lines {
            stream.write_all(line.as_bytes()).await.unwrap();
            match stream.read(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
        }
    })
    .await
}

#[tokio::test]
async fn smtp() {
    let good = mail(&["220 mx ESMTP\r\n", "250-mx\r\n250-SIZE\r\n250 OK\r\n", "221 Bye\r\n"]).await;
    let (verdict, text) = made(good, "type = \"smtp\", helo = \"lvs1\"").await;
    assert!(verdict == Verdict::Passed && text.starts_with("SMTP 250 in "), "{text}");
    let busy = mail(&["421 too busy\r\n"]).await;
    let found = made(busy, "type = \"smtp\"").await;
    assert_eq!(found, (Verdict::Failed, "the greeting is \"421 too busy\", not 220".to_owned()));
    let strict = mail(&["220 mx\r\n", "501 who?\r\n"]).await;
    let found = made(strict, "type = \"smtp\"").await;
    assert_eq!(found, (Verdict::Failed, "the reply to HELO is \"501 who?\", not 250".to_owned()));
}

/// A name server whose answers have these flags and, if any, one record: 192.0.2.1.
async fn names(flags: u16, records: u16) -> SocketAddr {
    let socket = UdpSocket::bind((LOCAL, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = buffer[..length].to_vec();
            // A late answer to another question first.
            let mut late = answer.clone();
            late[0] ^= 0xff;
            socket.send_to(&late, from).await.unwrap();
            answer[2..4].copy_from_slice(&flags.to_be_bytes());
            answer[6..8].copy_from_slice(&records.to_be_bytes());
            if records > 0 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn dns() {
    let query = "type = \"dns\", record_type = \"A\", name = \"www.example.org\"";
    let good = names(0x8180, 1).await;
    let (verdict, text) = made(good, query).await;
    assert!(verdict == Verdict::Passed && text.starts_with("DNS NOERROR in "), "{text}");
    let (verdict, text) = made(good, &format!("{query}, expect = \"192.0.2.1\"")).await;
    assert_eq!(verdict, Verdict::Passed, "{text}");
    let (verdict, text) = made(good, &format!("{query}, expect = \"192.0.2.2\"")).await;
    assert!(verdict == Verdict::Failed && text.ends_with(", but the answer is 192.0.2.1"), "{text}");
    let (verdict, text) = made(names(0x8182, 0).await, query).await;
    assert!(verdict == Verdict::Failed && text.starts_with("DNS SERVFAIL in "), "{text}");
    let (verdict, text) = made(nobody().await, query).await;
    assert_eq!((verdict, text.as_str()), (Verdict::Failed, "connection refused"));
}

#[tokio::test]
async fn udp() {
    let socket = UdpSocket::bind((LOCAL, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [b"echo ".as_slice(), &buffer[..length]].concat();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    let (verdict, text) = made(address, "type = \"udp\", payload = \"hi\", expect = \"echo hi\"").await;
    assert!(verdict == Verdict::Passed && text.starts_with("answered in "), "{text}");
    let (verdict, text) =
        made(address, "type = \"udp\", payload = \"hi\", expect = \"hex:6563XX6f21\"").await;
    assert_eq!((verdict, text.as_str()), (Verdict::Failed, "another answer: 6563686f206869 (7 bytes)"));
    let (verdict, text) = made(nobody().await, "type = \"udp\"").await;
    assert_eq!((verdict, text.as_str()), (Verdict::Failed, "connection refused"));
    let quiet = UdpSocket::bind((LOCAL, 0)).await.unwrap();
    let check = "type = \"udp\", timeout = \"100ms\"";
    let found = made(quiet.local_addr().unwrap(), check).await;
    assert_eq!(found, (Verdict::Passed, "not refused within 100 ms".to_owned()));
    let found = made(quiet.local_addr().unwrap(), &format!("{check}, expect = \"\"")).await;
    assert_eq!(found, (Verdict::Failed, "timed out after 100 ms".to_owned()));
}

#[tokio::test]
async fn as_root_ping() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    for address in [LOCAL, IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)] {
        let (verdict, text) = made(SocketAddr::new(address, 0), "type = \"ping\"").await;
        assert!(verdict == Verdict::Passed && text.starts_with("answered in "), "{address}: {text}");
    }
}

#[tokio::test]
async fn scripts() {
    let script = |text: &str, keys: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        target(SocketAddr::new(LOCAL, 80), &format!("type = \"script\", command = \"sh -c '{text}'\"{keys}"))
    };
    let context = Context::default();
    let cases = [
        ("exit 0", "", Verdict::Passed, "exit status 0 in ", None),
        ("echo disk full >&2; exit 3", "", Verdict::Failed, "exit status 3 in ", None),
        ("exit 12", ", weight_by_exit = true", Verdict::Passed, "exit status 12 in ", Some(10)),
        ("exit 1", ", weight_by_exit = true", Verdict::Failed, "exit status 1 in ", None),
        ("kill -9 $$", "", Verdict::Failed, "ended by signal 9 after ", None),
        (
            "test $LBCTL_VIRTUAL_ADDRESS:$LBCTL_REAL_PORT = 192.0.2.1:80",
            "",
            Verdict::Passed,
            "exit status 0",
            None,
        ),
        ("sleep 600", ", timeout = \"200ms\"", Verdict::Failed, "timed out after 200 ms", None),
    ];
    for (text, keys, verdict, said, number) in cases {
        let outcome = make(&script(text, keys), &context).await;
        assert_eq!((outcome.verdict, outcome.number), (verdict, number), "{text}: {outcome:?}");
        assert!(outcome.text.starts_with(said), "{text}: {outcome:?}");
    }
    let outcome = make(&script("echo disk full >&2; exit 3", ""), &context).await;
    assert!(outcome.text.ends_with(": disk full"), "{outcome:?}");
    let missing = "type = \"script\", command = \"/nonexistent/check\"";
    let outcome = make(&target(SocketAddr::new(LOCAL, 80), missing), &context).await;
    assert_eq!(outcome.text, "/nonexistent/check: cannot be started: no such file or directory");
}

#[tokio::test]
async fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weight");
    let context = Context::default();
    let file = |weight: i32| {
        let check = format!("type = \"file\", file = \"{}\", weight = {weight}", path.display());
        target(SocketAddr::new(LOCAL, 80), &check)
    };
    let missing = make(&file(0), &context).await;
    assert_eq!((missing.verdict, missing.number), (Verdict::Passed, Some(0)));
    for (text, weight, verdict, number) in [
        ("0\n", 0, Verdict::Passed, Some(0)),
        ("", 0, Verdict::Passed, Some(0)),
        ("1", 0, Verdict::Failed, None),
        ("-7 \n", 1, Verdict::Passed, Some(-7)),
        ("many", 1, Verdict::Failed, None),
    ] {
        std::fs::write(&path, text).unwrap();
        let outcome = make(&file(weight), &context).await;
        assert_eq!((outcome.verdict, outcome.number), (verdict, number), "{text:?}: {outcome:?}");
    }
}

/// One file serves many real servers, whose checks come together.
#[tokio::test]
async fn many_read_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weight");
    std::fs::write(&path, "0").unwrap();
    let context = Context::default();
    let check = format!("type = \"file\", file = \"{}\"", path.display());
    let target = target(SocketAddr::new(LOCAL, 80), &check);
    let outcomes = futures_util::future::join_all((0..100).map(|_| make(&target, &context))).await;
    assert!(outcomes.iter().all(|outcome| outcome.verdict == Verdict::Passed), "{outcomes:?}");
}

#[tokio::test]
async fn a_fifo_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let check = format!("type = \"file\", file = \"{}\"", path.display());
    assert_eq!(made(SocketAddr::new(LOCAL, 80), &check).await, (Verdict::Passed, "it says 0".to_owned()));
}

/// Of a file that hangs nothing is asked again, of a script neither; whatever else is asked goes on.
#[tokio::test]
async fn what_hangs_is_not_asked_again() {
    let context = Context::default();
    let file = |path: &str| {
        let check = format!("type = \"file\", file = \"{path}\", timeout = \"50ms\"");
        target(SocketAddr::new(LOCAL, 80), &check)
    };
    let hangs = context.turns.take("/nonexistent/gone", 1).await;
    let outcome = make(&file("/nonexistent/gone"), &context).await;
    assert_eq!((outcome.verdict, outcome.text.as_str()), (Verdict::Failed, "timed out after 50 ms"));
    assert_eq!(make(&file("/nonexistent/other"), &context).await.verdict, Verdict::Passed);
    drop(hangs);
    assert_eq!(make(&file("/nonexistent/gone"), &context).await.verdict, Verdict::Passed);

    // It ignores SIGTERM, so that it is there until SIGKILL.
    let script = |text: &str| {
        let check = format!(
            "type = \"script\", timeout = \"100ms\", command = \"sh -c 'trap : TERM; while {text}; do sleep 0.01; done'\""
        );
        target(SocketAddr::new(LOCAL, 80), &check)
    };
    let outcome = make(&script("true"), &context).await;
    assert_eq!(outcome.text, "timed out after 100 ms");
    let outcome = make(&script("true"), &context).await;
    assert_eq!((outcome.verdict, outcome.text.as_str()), (Verdict::Failed, "the last one still hangs"));
    assert_eq!(make(&script("false"), &context).await.verdict, Verdict::Passed);
}

#[tokio::test]
async fn a_path_needs_somebody_who_knows_it() {
    #[derive(Debug)]
    struct Knows;
    impl PathProbe for Knows {
        fn probe<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Found> {
            Box::pin(async move { Ok(Passed::new(format!("{} answers", target.server))) })
        }
    }
    let target = target(SocketAddr::new(LOCAL, 80), "type = \"path\"");
    assert_eq!(make(&target, &Context::default()).await.verdict, Verdict::Inconclusive);
    let outcome = make(&target, &Context::new(Some(Arc::new(Knows)))).await;
    assert_eq!((outcome.verdict, outcome.text.as_str()), (Verdict::Passed, "127.0.0.1:80 answers"));
}

#[test]
fn durations_in_words() {
    let shown = |ms| shown(Duration::from_millis(ms));
    assert_eq!(
        [shown(0), shown(999), shown(1000), shown(1500), shown(60_000)],
        ["0 ms", "999 ms", "1 s", "1.5 s", "60 s"]
    );
}
