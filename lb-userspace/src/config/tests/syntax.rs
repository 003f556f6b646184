//! Text that is not TOML: what can still be said about the rest of the file.

use super::refused::refuses;

#[test]
fn a_duplicate_key_is_reported_with_all_else() {
    refuses(
        "[director]\ninterfaces = [\"eth0\"]\ninterfaces = [\"eth1\"]\nxdp_mode = \"fast\"\n",
        &[(3, "interfaces", "is given twice"), (4, "director.xdp_mode", "\"fast\" is not an XDP mode")],
    );
    refuses(
        "[director]\ninterfaces = [\"eth0\"]\n[director]\nxdp_mode = \"fast\"\n",
        &[(3, "director", "is given twice"), (4, "director.xdp_mode", "\"fast\" is not an XDP mode")],
    );
}

#[test]
fn broken_toml_is_reported_alone() {
    refuses("[director]\ninterfaces = [\"eth0\"\nxdp_mode = 5\n", &[(3, "", "this is not TOML: ")]);
    refuses("virtual_server 192.168.4.15 80 {\n}\n", &[(1, "", "this is a keepalived.conf")]);
}

#[test]
fn a_string_without_quotes_is_reported_with_all_else() {
    refuses(
        "[director]\nrouter_id = lvs1\ninterfaces = [eth0]\nxdp_mode = \"fast\"\n",
        &[
            (2, "", "strings need quotes; write \"lvs1\""),
            (3, "", "strings need quotes; write \"eth0\""),
            (4, "director.xdp_mode", "\"fast\" is not an XDP mode"),
        ],
    );
}
