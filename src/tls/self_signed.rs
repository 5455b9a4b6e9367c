//! A certificate that a member makes for itself, so that what it says is encrypted where nobody has set up
//! an authority. Who it is, nobody can tell from it.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{pki_types::UnixTime, sign::CertifiedKey};
use tracing::{info, warn};

use super::{
    Error, Pair, Protocol, SettingFile,
    certs::{out_of_date, pair},
    files::Files,
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Clocks differ, and who looks at it first may be behind.
const BEFORE: Duration = Duration::from_secs(60 * 60);

/// The pair in a folder, which is made when there is none that can be used, or it has expired. It is good
/// for these hosts, which are names and addresses.
///
/// # Errors
///
/// Why it cannot be made.
pub fn self_signed(
    setting: &'static str,
    folder: &Path,
    hosts: &[String],
    years: u64,
) -> Result<Pair, Error> {
    let file = |name: &str| SettingFile { setting, path: folder.join(name) };
    let own = Pair { cert: file("cert.pem"), key: file("key.pem") };
    if own.cert.path.exists() && own.key.path.exists() {
        match usable(&own) {
            Ok(()) => return Ok(own),
            Err(reason) => warn!(setting, reason, "own certificate is made anew"),
        }
    }
    make(&own, folder, hosts, years).map_err(|reason| Error::SelfSigned {
        path: folder.display().to_string(),
        reason: reason.to_string(),
    })?;
    let path = own.cert.path.display();
    info!(setting, %path, years, "certificate was made: it proves nothing, but encrypts");
    Ok(own)
}

/// Says why a pair is of no use. A crash may have left a new key with an old certificate.
fn usable(own: &Pair) -> Result<(), String> {
    let (certs, key) = pair(own, &mut Files::default()).map_err(|error| error.to_string())?;
    if let Some(reason) = certs.first().and_then(|cert| out_of_date(cert, UnixTime::now())) {
        return Err(reason);
    }
    let provider = Protocol::default().provider();
    CertifiedKey::from_der(certs, key, &provider).map(drop).map_err(|error| error.to_string())
}

fn make(own: &Pair, folder: &Path, hosts: &[String], years: u64) -> io::Result<()> {
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(UnixTime::now().as_secs());
    let years = u32::try_from(years).map_err(io::Error::other)?;
    let mut params = CertificateParams::new(hosts).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::OrganizationName, "quorate");
    params.distinguished_name.remove(DnType::CommonName);
    (params.not_before, params.not_after) = (now - BEFORE, now + YEAR * years);
    // One that may sign others is nobody's own for many libraries.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let cert = params.self_signed(&key).map_err(io::Error::other)?;

    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    write(&own.key.path, &key.serialize_pem())?;
    write(&own.cert.path, &cert.pem())
}

/// Puts a file in place of another, whole, for nobody else to read.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)
}
