//! The lab: network namespaces with a client, directors and web servers.
