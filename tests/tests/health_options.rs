//! Every type of check with each of its options, against real servers that tell them apart.

mod as_root {
    use std::fs;
    use std::net::{IpAddr, SocketAddr, UdpSocket};
    use std::thread;

    use anyhow::Context as _;
    use lb_tests::checks::{checked, results};
    use lb_tests::{Echo, Family, Lab, MailServer, Node, Process, isolated};

    /// An nginx on `web1`, port 8080, whose places each want one thing of a request.
    fn picky(lab: &Lab) -> anyhow::Result<Process> {
        let dir = lab.dir().join("picky");
        fs::create_dir_all(&dir)?;
        let wants = [
            ("head", "$request_method", "HEAD"),
            ("host", "$host", "www.example.org"),
            ("header", "$http_x_check", "yes"),
            ("version", "$server_protocol", "HTTP/1.0"),
            ("source", "$remote_addr", "192.168.4.77"),
            ("query", "$arg_a", "b"),
        ];
        let places: String = wants
            .iter()
            .map(|(place, variable, value)| {
                format!(
                    "location /{place} {{ if ({variable} != {value}) {{ return 403; }} return 200 fine; }}\n"
                )
            })
            .collect();
        let conf = lab.write("picky/nginx.conf", &format!(
            "user root; daemon off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             server {{ listen 8080; location /teapot {{ return 418; }} location /move {{ return 302 /head?moved; }}\n\
             location /load {{ return 200 \"load: 3.14\\n\"; }}\n{places} }} }}\n",
            dir.display()
        ))?;
        let (prefix, conf) = (dir.display().to_string(), conf.display().to_string());
        let log = format!("{prefix}/error.log");
        lab.spawn(Node::Web1, ["nginx", "-p", &prefix, "-c", &conf, "-e", &log])
    }

    /// A name server whose every answer is 192.0.2.1.
    fn names(lab: &Lab, address: IpAddr) -> anyhow::Result<()> {
        let socket = lab.enter(Node::Web1, || UdpSocket::bind((address, 53)))??;
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let mut answer = buffer[..length].to_vec();
                answer[2..4].copy_from_slice(&[0x81, 0x80]);
                answer[6..8].copy_from_slice(&[0, 1]);
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
                if socket.send_to(&answer, from).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Each option once as it should be and once otherwise: the check's keys, and how its result begins and ends if it
    /// is to fail.
    fn expect(lab: &Lab, checks: &[(String, Option<&str>)]) -> anyhow::Result<()> {
        let keys: Vec<_> = checks.iter().map(|(keys, _)| format!("{{ {keys}, retries = 0 }}")).collect();
        let (director, _) = checked(lab, &[Node::Web1], &format!("check = [{}]", keys.join(", ")))?;
        let results = results(lab)?;
        assert_eq!(results.len(), checks.len());
        for ((keys, wrong), (state, result)) in checks.iter().zip(&results) {
            match wrong {
                None => assert_eq!(state, "up", "{keys}: {result}"),
                Some(words) => {
                    assert!(state == "down" && result.contains(words), "{keys}: {state}, {result}")
                }
            }
        }
        director.down()
    }

    #[test]
    fn http() {
        isolated("as_root::http", || {
            let lab = Lab::builder().up()?;
            let _nginx = picky(&lab)?;
            lab.exec(Node::Lvs1, ["ip", "address", "add", "192.168.4.77/24", "dev", "eth0"])?;
            let cases: [(&str, &str, Option<&str>); 23] = [
                ("/head", "method = \"HEAD\"", None),
                ("/head", "method = \"GET\"", Some("HTTP 403 in ")),
                ("/teapot", "", Some("HTTP 418 in ")),
                ("/teapot", "status = [\"200\", \"410-420\"]", None),
                ("/teapot", "status = 418", None),
                ("/teapot", "status = [\"410-417\", \"419-499\"]", Some("HTTP 418 in ")),
                ("/load", "body = \"load: 3\"", None),
                ("/load", "body = \"LOAD\"", Some("but the body lacks \"LOAD\"")),
                ("/load", "body_regex = '^load: [0-4]\\.\\d+\\n$'", None),
                ("/load", "body_regex = 'load: [5-9]'", Some("but the body does not match")),
                ("/load", "digest = \"MD5\"", None),
                ("/load", "digest = \"SHA\"", None),
                (
                    "/load",
                    "digest = \"d41d8cd98f00b204e9800998ecf8427e\"",
                    Some("but the body's digest is MD5"),
                ),
                ("/header", "headers = { X-Check = \"yes\" }", None),
                ("/header", "headers = { X-Check = \"no\" }", Some("HTTP 403 in ")),
                ("/host", "host = \"www.example.org\"", None),
                ("/host", "", Some("HTTP 403 in ")),
                ("/version", "http_version = \"1.0\"", None),
                ("/version", "", Some("HTTP 403 in ")),
                ("/source", "source_address = \"192.168.4.77\"", None),
                ("/source", "source_address = \"192.168.4.2\"", Some("HTTP 403 in ")),
                ("/query?a=b", "", None),
                ("/move", "method = \"HEAD\", follow = true", None),
            ];
            let file = lab.write("load", "load: 3.14\n")?.display().to_string();
            let digest = |program: &str| -> anyhow::Result<String> {
                let said = lab.exec(Node::Web1, [program, &file])?;
                said.split_whitespace().next().map(str::to_owned).context("no digest")
            };
            let (md5, sha256) = (digest("md5sum")?, digest("sha256sum")?);
            let checks = cases.map(|(path, keys, wrong)| {
                let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
                let keys = keys.replace("MD5", &md5).replace("SHA", &sha256);
                (format!("type = \"http\", connect = \":8080\", path = \"{path}\"{keys}"), wrong)
            });
            let checks = checks.map(|(keys, wrong)| (keys, wrong.map(|wrong| wrong.replace("MD5", &md5))));
            let checks: Vec<_> =
                checks.iter().map(|(keys, wrong)| (keys.clone(), wrong.as_deref())).collect();
            expect(&lab, &checks)?;
            lab.down()
        });
    }

    #[test]
    fn all_other_types() {
        isolated("as_root::all_other_types", || {
            let lab = Lab::builder().up()?;
            let web1 = lab.address(Node::Web1, Family::V4).context("no web1")?;
            let web2 = lab.address(Node::Web2, Family::V4).context("no web2")?;
            let mails = MailServer::start_at(&lab, Node::Web1, web1)?;
            let _echo = Echo::start(&lab, Node::Web1, web1)?;
            names(&lab, web1)?;
            let number = lab.write("number", "0")?;
            let other = lab.write("other", "3")?;
            let file = |path: &std::path::Path| format!("type = \"file\", file = \"{}\"", path.display());
            let script = |text: &str, keys: &str| {
                format!("type = \"script\", command = \"sh -c '{text}'\", user = \"nobody\"{keys}")
            };
            let udp = |keys: &str| format!("type = \"udp\", connect = \":7\", timeout = \"500ms\", {keys}");
            let dns = |keys: &str| {
                format!("type = \"dns\", connect = \":53\", timeout = \"2s\", name = \"a.test\"{keys}")
            };
            let nobody: SocketAddr = (IpAddr::from([192, 168, 4, 99]), 0).into();
            let checks = [
                ("type = \"tcp\"".to_owned(), None),
                ("type = \"tcp\", connect = \":81\"".to_owned(), Some("connection refused")),
                // Address and port of another.
                (
                    format!("type = \"http\", body = \"web1\", connect = \"{web2}:80\""),
                    Some("but the body lacks"),
                ),
                (format!("type = \"http\", body = \"web2\", connect = \"{web2}:80\""), None),
                (format!("type = \"http\", body = \"web2\", connect = \"{web2}\""), None),
                ("type = \"smtp\", connect = \":25\", helo = \"lvs1.test\"".to_owned(), None),
                (
                    "type = \"smtp\", connect = \":80\", timeout = \"300ms\"".to_owned(),
                    Some("timed out after 300 ms"),
                ),
                (dns(", record_type = \"A\", expect = \"192.0.2.1\""), None),
                (dns(", record_type = \"A\", expect = \"192.0.2.2\""), Some("but the answer is 192.0.2.1")),
                (dns(""), None),
                ("type = \"dns\", connect = \":54\"".to_owned(), Some("connection refused")),
                (udp("payload = \"hi\", expect = \"web1 hi\""), None),
                (udp("payload = \"hex:0001ff\", expect = \"hex:77656231XX00XXff\""), None),
                (udp("payload = \"hi\", expect = \"web2\""), Some("another answer: 77656231206869")),
                (
                    "type = \"udp\", connect = \":8\", timeout = \"500ms\"".to_owned(),
                    Some("connection refused"),
                ),
                ("type = \"ping\"".to_owned(), None),
                (
                    format!("type = \"ping\", connect = \"{}\", timeout = \"500ms\"", nobody.ip()),
                    Some("timed out after 500 ms"),
                ),
                (script("test $(id -un) = nobody", ""), None),
                (script("test $(id -u) = 0", ""), Some("exit status 1 in ")),
                (script("sleep 60", ", timeout = \"300ms\""), Some("timed out after 300 ms")),
                (script("exit 1", ", weight_by_exit = true"), Some("exit status 1 in ")),
                (script("exit 7", ", weight_by_exit = true"), None),
                (file(&number), None),
                (file(&other), Some("it says 3")),
                (format!("{}, weight = 2", file(&other)), None),
                (file(&lab.dir().join("missing")), None),
                ("type = \"path\", timeout = \"2s\"".to_owned(), None),
            ];
            expect(&lab, &checks)?;
            // It has greeted, and heard HELO and QUIT: no mail was begun.
            assert_eq!(mails.lines(), Vec::<String>::new());
            lab.down()
        });
    }
}
