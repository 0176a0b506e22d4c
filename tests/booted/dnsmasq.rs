//! NetworkManager with a dnsmasq of its own.
