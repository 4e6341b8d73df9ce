//! Root certificates: which authorities a server's certificate may come from.
//!
//! The services of AWS have certificates of Amazon's five roots, which are part of the program. Reading the system's
//! store, with its hundred and more, took most of a start. So it is read when a request needs it, and at most once:
//! for a server that is not AWS's, and for one whose certificate none of the five roots has signed, such as that of a
//! proxy that inspects TLS. Where an operator has chosen roots or a proxy, the five are not used.
//!
//! Every certificate is verified by the SDK's client. Here it is only chosen which client makes a request.

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_smithy_http_client::{
    Builder, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use rustls::CertificateError;

/// The roots of Amazon Trust Services that it recommends for a trust store of one's own.
/// Source: <https://www.amazontrust.com/repository/>; the certificates are those of Debian's package ca-certificates.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon.pem");

/// Variables with which an operator chooses roots, or a proxy for HTTPS.
const CHOICES: [&str; 7] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "AWS_CA_BUNDLE",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The SDK's HTTP client, shared by all services. It uses the proxy in `HTTPS_PROXY` and `NO_PROXY`, and ring, which
/// makes a smaller program than aws-lc.
#[expect(
    clippy::disallowed_methods,
    reason = "variables of the SDK's TLS library and HTTP client"
)]
pub fn http_client() -> SharedHttpClient {
    let is_chosen = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let amazon = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    SharedHttpClient::new(Client(Arc::new(Roots {
        amazon: trusting(amazon),
        system: trusting(TrustStore::default()),
        is_amazon_first: is_aws_or_plain,
        is_system_used: AtomicBool::new(CHOICES.into_iter().any(is_chosen)),
    })))
}

/// A client that trusts these roots. They are read with its first request.
fn trusting(roots: TrustStore) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let roots = TlsContext::builder().with_trust_store(roots.clone());
        let mut connector =
            ConnectorBuilder::default().tls_provider(Provider::rustls(CryptoMode::Ring));
        connector
            // Building a context cannot fail: it holds what it is given, and does not read it.
            .set_tls_context(roots.build().expect("a context is not checked"))
            .set_connector_settings(settings.cloned())
            .set_sleep_impl(components.and_then(|components| components.sleep_impl()))
            .set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

/// Both clients, and which of them makes a request.
#[derive(Debug)]
struct Roots {
    /// Trusts Amazon's roots.
    amazon: SharedHttpClient,
    /// Trusts those of the system.
    system: SharedHttpClient,
    /// Whether a request to this URI is made with the former first.
    is_amazon_first: fn(&str) -> bool,
    /// Whether all requests are made with the latter.
    is_system_used: AtomicBool,
}

/// Whether this is an address of AWS, or one without TLS.
fn is_aws_or_plain(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("https://") else {
        return true;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    host.ends_with(".amazonaws.com") || host.ends_with(".api.aws")
}

/// Makes a connector for each request, and leaves it to the two clients to keep theirs. So neither of them reads
/// its roots when a service's client is made.
#[derive(Debug)]
struct Client(Arc<Roots>);

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            roots: Arc::clone(&self.0),
            settings: settings.clone(),
            components: components.clone(),
        })
    }
}

#[derive(Debug, Clone)]
struct Connector {
    roots: Arc<Roots>,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl Connector {
    fn send(&self, client: &SharedHttpClient, request: HttpRequest) -> HttpConnectorFuture {
        client
            .http_connector(&self.settings, &self.components)
            .call(request)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Roots {
            system,
            is_amazon_first,
            is_system_used,
            ..
        } = &*self.roots;
        if is_system_used.load(Ordering::Relaxed) || !is_amazon_first(request.uri()) {
            return self.send(system, request);
        }
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            let roots = &connector.roots;
            // `None`: the body is a stream, which is sent once. The function sends none.
            let again = request.try_clone();
            match (connector.send(&roots.amazon, request).await, again) {
                // Nothing was sent, because the server was not trusted.
                (Err(error), Some(again)) if is_unknown_issuer(&error) => {
                    let sent = connector.send(&roots.system, again).await;
                    if !sent.as_ref().is_err_and(is_unknown_issuer) {
                        roots.is_system_used.store(true, Ordering::Relaxed);
                    }
                    sent
                }
                (sent, _) => sent,
            }
        })
    }
}

/// Whether no trusted root has signed the server's certificate.
fn is_unknown_issuer(error: &ConnectorError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) =
            error.downcast_ref()
        {
            return true;
        }
        // The source of an I/O error is not the error in it, but that error's source.
        next = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|error| error as _),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests;
