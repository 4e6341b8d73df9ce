//! TLS in front of the stub: a test's own authorities, and servers with certificates of them.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// An authority whose root no program knows.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority {
            issuer: CertifiedIssuer::self_signed(parameters, key).expect("a root"),
        }
    }

    /// Its root certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Starts a server on a loopback address, with a certificate for a host, that forwards to an HTTP endpoint.
    pub async fn serve(&self, host: &str, endpoint: &str) -> TlsServer {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new([host.to_owned()])
            .and_then(|parameters| parameters.signed_by(&key, &self.issuer))
            .expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key of the certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = endpoint.trim_start_matches("http://").to_owned();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(forward(acceptor.clone(), stream, address.clone()));
            }
        });
        TlsServer {
            port,
            _connections: connections,
        }
    }
}

/// A running server. Dropping it closes all connections.
pub struct TlsServer {
    pub port: u16,
    _connections: JoinSet<()>,
}

/// Forwards one connection, if the client accepts the certificate.
async fn forward(acceptor: TlsAcceptor, stream: TcpStream, address: String) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    let mut target = TcpStream::connect(address).await.expect("the endpoint");
    // Either side may close the connection at any time.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
}
