//! Whose certificates are accepted, of callers and of those that are called.
//!
//! The library checks chains, dates and purposes. What it leaves out and etcd has: names that are
//! allowed, lists of revoked serial numbers, and certificates that are their own authority, which many
//! a small cluster runs with.

use std::{collections::BTreeSet, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    Allowed, Callers, DialSettings, Error,
    certs::{self, Authorities, out_of_date, parsed, serial},
    files::Files,
};

/// Judges the certificates of callers.
#[derive(Debug)]
pub(super) struct CallerVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    revoked: BTreeSet<Vec<u8>>,
    allowed: Allowed,
}

impl CallerVerifier {
    pub(super) fn load(
        callers: &Callers,
        provider: Arc<CryptoProvider>,
        files: &mut Files,
    ) -> Result<Self, Error> {
        let Authorities { roots, certs } = certs::authorities(callers.authorities.as_ref(), files)?;
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| match &callers.authorities {
                Some(file) => Error::content(file, error),
                None => Error::Protocol(format!("the system names no authorities: {error}")),
            })?;
        let revoked = match &callers.revoked {
            Some(file) => certs::revoked(file, files)?,
            None => BTreeSet::new(),
        };
        Ok(Self { inner, trusted: certs, revoked, allowed: callers.allowed.clone() })
    }
}

impl ClientCertVerifier for CallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.inner.verify_client_cert(cert, intermediates, now).or_else(|error| {
            let itself = is_trusted_itself(cert, &self.trusted, now, Purpose::Calling);
            itself.then(ClientCertVerified::assertion).ok_or(error)
        })?;
        if !self.revoked.is_empty() {
            for shown in [cert].into_iter().chain(intermediates) {
                let shown = parsed(shown).ok_or(CertificateError::BadEncoding)?;
                if self.revoked.contains(&serial(&shown)) {
                    return Err(CertificateError::Revoked.into());
                }
            }
        }
        permits(&self.allowed, cert)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Judges the certificates of those that are called.
#[derive(Debug)]
pub(super) struct CalledVerifier {
    /// None: whatever is shown is accepted.
    authorities: Option<Authorities>,
    allowed: Allowed,
    algorithms: WebPkiSupportedAlgorithms,
}

impl CalledVerifier {
    pub(super) fn load(
        settings: &DialSettings,
        provider: &CryptoProvider,
        files: &mut Files,
    ) -> Result<Self, Error> {
        let authorities = if settings.insecure {
            None
        } else {
            Some(certs::authorities(settings.authorities.as_ref(), files)?)
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { authorities, allowed: settings.allowed.clone(), algorithms })
    }
}

impl ServerCertVerifier for CalledVerifier {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if let Some(Authorities { roots, certs }) = &self.authorities {
            let found = ParsedCertificate::try_from(cert)?;
            let all = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&found, roots, intermediates, now, all)
                .or_else(|error| {
                    let itself = is_trusted_itself(cert, certs, now, Purpose::Answering);
                    itself.then_some(()).ok_or(error)
                })?;
            verify_server_name(&found, name)?;
            permits(&self.allowed, cert)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What a certificate is shown for.
#[derive(Clone, Copy)]
enum Purpose {
    Calling,
    Answering,
}

/// Whether a certificate stands among the authorities itself. The library does not take one that may
/// sign others for anybody's own; Go does, and so did whoever made it.
fn is_trusted_itself(
    cert: &CertificateDer<'_>,
    trusted: &[CertificateDer<'static>],
    now: UnixTime,
    purpose: Purpose,
) -> bool {
    let fits = || {
        let Some(cert) = parsed(cert) else { return false };
        match cert.extended_key_usage() {
            Ok(Some(usage)) => {
                let usage = usage.value;
                let named = match purpose {
                    Purpose::Calling => usage.client_auth,
                    Purpose::Answering => usage.server_auth,
                };
                usage.any || named
            }
            Ok(None) => true,
            Err(_) => false,
        }
    };
    trusted.iter().any(|it| it == cert) && out_of_date(cert, now).is_none() && fits()
}

/// Refuses a certificate with other names than those that are allowed.
fn permits(allowed: &Allowed, cert: &CertificateDer<'_>) -> Result<(), TlsError> {
    let permitted = match allowed {
        Allowed::Anybody => true,
        Allowed::CommonNames(names) => parsed(cert).is_some_and(|cert| {
            // The last one, as for Go: a certificate has one name, whatever else its subject lists.
            let found = cert.subject().iter_common_name().last().and_then(|cn| cn.as_str().ok());
            found.is_some_and(|cn| names.iter().any(|name| name == cn))
        }),
        Allowed::Hostnames(names) => {
            let cert = ParsedCertificate::try_from(cert)?;
            let names = names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
            names.into_iter().any(|name| verify_server_name(&cert, &name).is_ok())
        }
    };
    if permitted { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
}
