//! What stands in files: certificates, keys, authorities, and what is revoked.

use std::collections::BTreeSet;

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject},
    },
};
use tracing::warn;
use x509_parser::{
    certificate::X509Certificate,
    parse_x509_certificate,
    prelude::{CertificateRevocationList, FromDer},
};

use super::{Error, Pair, SettingFile, files::Files};

/// A certificate with what signed it, and its key.
pub(super) fn pair(
    pair: &Pair,
    files: &mut Files,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let certs = certificates(&pair.cert, files)?;
    let key = PrivateKeyDer::from_pem_slice(&files.read(&pair.key)?).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) {
            Error::content(&pair.key, "holds no private key in pem form")
        } else {
            Error::content(&pair.key, error)
        }
    })?;
    if let Some(reason) = certs.first().and_then(|cert| out_of_date(cert, UnixTime::now())) {
        let (setting, file) = (pair.cert.setting, pair.cert.path.display());
        warn!(setting, %file, reason, "certificate is not valid at this time");
    }
    Ok((certs, key))
}

/// All certificates of a file, at least one.
fn certificates(
    file: &SettingFile,
    files: &mut Files,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = files.read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| Error::content(file, error))?;
    if found.is_empty() {
        return Err(Error::content(file, "holds no certificate in pem form"));
    }
    Ok(found)
}

/// Who may sign certificates.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) roots: RootCertStore,
    /// As they stand in the file: such a certificate is trusted itself, too.
    pub(super) certs: Vec<CertificateDer<'static>>,
}

/// The authorities that a file names, or those of the system.
pub(super) fn authorities(
    file: Option<&SettingFile>,
    files: &mut Files,
) -> Result<Authorities, Error> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let system = rustls_native_certs::load_native_certs();
        // One that cannot be read is one that has signed nothing.
        roots.add_parsable_certificates(system.certs);
        return Ok(Authorities { roots, certs: Vec::new() });
    };
    let certs = certificates(file, files)?;
    for cert in &certs {
        roots.add(cert.clone()).map_err(|error| Error::content(file, error))?;
    }
    Ok(Authorities { roots, certs })
}

/// The serial numbers of revoked certificates. As for etcd it is the number alone that counts, whoever
/// has signed the list, and however long ago.
pub(super) fn revoked(file: &SettingFile, files: &mut Files) -> Result<BTreeSet<Vec<u8>>, Error> {
    let bytes = files.read(file)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let mut lists: Vec<Vec<u8>> = lists
        .map_err(|error| Error::content(file, error))?
        .iter()
        .map(|list| list.as_ref().to_vec())
        .collect();
    if lists.is_empty() {
        lists.push(bytes); // it is in binary form, the only one that etcd reads
    }
    let mut serials = BTreeSet::new();
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(&list).map_err(|error| {
            Error::content(file, format!("holds no list of revoked certificates: {error}"))
        })?;
        serials.extend(list.iter_revoked_certificates().map(|it| number(it.raw_serial())));
    }
    Ok(serials)
}

/// The serial number of a certificate.
pub(super) fn serial(cert: &X509Certificate<'_>) -> Vec<u8> {
    number(cert.raw_serial())
}

/// A number without the zeros before it.
fn number(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// A certificate's fields.
pub(super) fn parsed<'a>(cert: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse_x509_certificate(cert).ok().map(|(_, cert)| cert)
}

/// Why a certificate is not valid at a time, if it is not.
pub(super) fn out_of_date(cert: &CertificateDer<'_>, now: UnixTime) -> Option<String> {
    let cert = parsed(cert)?;
    let (period, now) = (cert.validity(), i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    if now > period.not_after.timestamp() {
        Some(format!("it has expired: it was valid until {}", period.not_after))
    } else if now < period.not_before.timestamp() {
        Some(format!("it is valid from {}", period.not_before))
    } else {
        None
    }
}
