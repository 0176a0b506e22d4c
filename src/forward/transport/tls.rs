//! TLS to upstreams: whom we believe that they are who they should be.
//!
//! A server proves itself by a certificate for its name, or for its address where it has none, that an authority of the
//! system has signed, or one of the CA file in its URL. With pins its public key has to be one of them, and the certificate
//! counts only if there is a name or a CA file too. There is no way to ask an encrypted upstream without.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::settings::{Transport, Upstream};

/// Authorities are read again after so long: they are replaced, and computers run for years.
const REREAD: Duration = Duration::from_secs(3600);

/// What is needed to connect to one server.
#[derive(Debug)]
pub(super) struct TlsContext {
    upstream: Upstream,
    config: Mutex<Option<(Instant, Arc<ClientConfig>)>>,
}

impl TlsContext {
    pub(super) fn new(upstream: &Upstream) -> TlsContext {
        TlsContext { upstream: upstream.clone(), config: Mutex::default() }
    }

    /// The TLS configuration, with what it trusts. It keeps the tickets that make the next handshake shorter.
    pub(super) async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let known = self.known().clone();
        if let Some((_, config)) = known.filter(|(read, _)| read.elapsed() < REREAD) {
            return Ok(config);
        }
        let upstream = self.upstream.clone();
        let config = tokio::task::spawn_blocking(move || config(&upstream)).await.map_err(io::Error::other)??;
        let config = Arc::new(config);
        *self.known() = Some((Instant::now(), config.clone()));
        Ok(config)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Arc<ClientConfig>)>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// TLS over a connection to the server.
    pub(super) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match self.upstream.name() {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
            None => ServerName::IpAddress(self.upstream.address().ip().into()),
        };
        TlsConnector::from(self.config().await?).connect(name, stream).await
    }
}

fn config(upstream: &Upstream) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let certificates = match upstream.pins() {
        [_, ..] if upstream.name().is_none() && upstream.ca_file().is_none() => None,
        _ => {
            let roots = Arc::new(roots(upstream.ca_file())?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            Some(verifier.build().map_err(io::Error::other)?)
        }
    };
    let verifier = Verifier { certificates, pins: upstream.pins().to_vec(), provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = match upstream.transport() {
        Transport::Https => vec![b"h2".to_vec()],
        Transport::Quic => vec![b"doq".to_vec()],
        _ => vec![b"dot".to_vec()],
    };
    Ok(config)
}

/// The authorities of a file, or those of the system.
fn roots(ca_file: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unreadable = |error| io::Error::other(format!("{}: {error}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                roots.add(certificate.map_err(unreadable)?).map_err(io::Error::other)?;
            }
            if roots.is_empty() {
                return Err(io::Error::other(format!("{}: no certificate in it", path.display())));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(io::Error::other("no certificate authorities on this system; install ca-certificates"));
            }
        }
    }
    Ok(roots)
}

/// Checks the certificate as usual, the key against pins, or both.
#[derive(Debug)]
struct Verifier {
    /// `None` where pins alone count.
    certificates: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.pins.is_empty() {
            let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
            let digest = ::ring::digest::digest(&::ring::digest::SHA256, &key);
            if !self.pins.iter().any(|pin| pin == digest.as_ref()) {
                return Err(rustls::Error::Other(rustls::OtherError(Arc::new(WrongKey))));
            }
        }
        match &self.certificates {
            Some(certificates) => certificates.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            // Only ever with a pin that was right: see `config`.
            None if !self.pins.is_empty() => Ok(ServerCertVerified::assertion()),
            None => Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The key is none of those that are pinned.
#[derive(Debug, thiserror::Error)]
#[error("its public key is none of those pinned with pin-sha256")]
struct WrongKey;
