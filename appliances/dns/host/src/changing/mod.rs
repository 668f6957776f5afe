//! Zones that change while they are served.

use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use dns_appliance::{Service, Surroundings, maintain};
use edge_nal::{TcpConnect, UdpBind};
use log::{error, info, warn};
use mirage_core::executor::Executor;
use mirage_dns::authority::{
    Authority, Bounds, BuildJob, Built, Leftovers, Now, Reload, ZoneConfig,
};
use mirage_dns::name::{Name, NameBuf};
use mirage_dns::serial::is_newer;
use mirage_dns::tsig::{Key, KeyFile};
use mirage_dns::zone_compiler::ZoneFile;
use mirage_dns::zone_set::{OwnedZoneSet, ZoneSetBuilder};
use mirage_host::{HangupSignal, SystemRng, run_apart};

use crate::error::Failure;
use crate::zones::compile;

mod arguments;
mod counters;
mod journal_file;
mod state;

pub(crate) use arguments::ChangingArguments;
pub(crate) use counters::describe;
use state::State;

/// The authority for the zones of the command line, served over so many TCP connections, and where they are kept.
pub(crate) fn authority(
    zones: OwnedZoneSet,
    arguments: &ChangingArguments,
    tcp_connections: usize,
    now: Now,
) -> Result<(Authority<'static>, Option<Arc<State>>), Failure> {
    let keys = read_keys(arguments)?;
    let fetched = |zone: &NameBuf| arguments.secondary.iter().any(|of| of.zone == *zone);
    let updated = arguments.update.iter().filter_map(|of| of.zone.as_ref());
    if let Some(zone) = updated.into_iter().find(|zone| fetched(zone)) {
        return Err(Failure::Arguments(format!(
            "--update {zone}=…: this zone is fetched (--secondary), so it is to be updated at its primary"
        )));
    }
    let mut configs = configs(&zones, arguments);
    let state = match &arguments.state {
        None => None,
        Some(directory) => {
            let kept = configs
                .iter()
                .filter(|config| !config.primaries.is_empty() || !config.update.0.is_empty());
            let state = State::open(directory, kept.map(|config| config.apex.clone()))?;
            Some(Arc::new(state))
        }
    };
    let zones = match &state {
        None => zones,
        Some(state) => restore(state, &zones, &mut configs)?,
    };
    let mut rng = SystemRng::new()?;
    let bounds = Bounds {
        // Readers that take their time leave the other connections to those who ask.
        transfers: (tcp_connections / 4).max(1),
        ..Bounds::default()
    };
    let authority = Authority::new(zones, configs, keys, bounds, now, &mut rng)
        .map_err(|error| Failure::Arguments(error.to_string()))?;
    Ok((authority, state))
}

/// What is done with each zone.
fn configs(zones: &OwnedZoneSet, arguments: &ChangingArguments) -> Vec<ZoneConfig> {
    let served = zones.as_zone_set();
    let mut apexes: BTreeSet<NameBuf> = served.zones().map(|zone| zone.apex().to_owned()).collect();
    apexes.extend(arguments.secondary.iter().map(|of| of.zone.clone()));
    // Those that are named and not served are an error that the authority finds.
    let transfer = arguments.transfer.iter().filter_map(|of| of.zone.clone());
    let notify = arguments.notify.iter().filter_map(|of| of.zone.clone());
    let update = arguments.update.iter().filter_map(|of| of.zone.clone());
    apexes.extend(transfer.chain(notify).chain(update));
    let config = |apex: NameBuf| {
        let is_of = |zone: &Option<NameBuf>| zone.as_ref().is_none_or(|zone| *zone == apex);
        let mut config = ZoneConfig::new(apex.clone());
        let secondary = arguments.secondary.iter().filter(|of| of.zone == apex);
        config.primaries = secondary.map(|of| of.what.0.clone()).collect();
        let transfer = arguments.transfer.iter().filter(|of| is_of(&of.zone));
        config.transfer.0 = transfer.map(|of| of.what.0.clone()).collect();
        let notify = arguments.notify.iter().filter(|of| is_of(&of.zone));
        config.notify = notify.map(|of| of.what.0.clone()).collect();
        if config.primaries.is_empty() {
            let update = arguments.update.iter().filter(|of| is_of(&of.zone));
            config.update.0 = update.map(|of| of.what.0.clone()).collect();
        }
        config
    };
    apexes.into_iter().map(config).collect()
}

fn read_keys(arguments: &ChangingArguments) -> Result<&'static [Key], Failure> {
    let mut keys: Vec<Key> = Vec::new();
    for path in &arguments.keys {
        let failed = |reason: String| Failure::Keys(path.clone(), reason);
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        for key in KeyFile::new(&text) {
            let key = key.map_err(|error| failed(error.to_string()))?;
            // Of two secrets one would never count, and nobody would know which.
            let name = |key: &Key| (key.name().to_owned(), key.algorithm());
            if keys.iter().any(|known| name(known) == name(&key)) {
                let (name, algorithm) = name(&key);
                return Err(failed(format!(
                    "the key {name} for {algorithm} is there twice"
                )));
            }
            keys.push(key);
        }
    }
    // For the rest of the process, as the tasks that sign with them.
    Ok(keys.leak())
}

/// The zones with those that were kept in the place of their files' versions.
fn restore(
    state: &State,
    zones: &OwnedZoneSet,
    configs: &mut [ZoneConfig],
) -> Result<OwnedZoneSet, Failure> {
    let set = zones.as_zone_set();
    let mut restored = Vec::new();
    for config in configs {
        if config.primaries.is_empty() && config.update.0.is_empty() {
            continue;
        }
        let apex = config.apex.as_name();
        if let Some(kept) = state.restore(apex, set.zone_at(apex))? {
            config.age = kept.age;
            config.history = kept.history;
            restored.push((config.apex.clone(), kept.zones));
        }
    }
    if restored.is_empty() {
        return Ok(zones.clone());
    }
    let build = || {
        let mut builder = ZoneSetBuilder::new();
        let replaced = |apex: Name<'_>| restored.iter().any(|(name, _)| name.as_name() == apex);
        for zone in set.zones().filter(|zone| !replaced(zone.apex())) {
            builder.copy_zone(zone)?;
        }
        for (_, kept) in &restored {
            for zone in kept.as_zone_set().zones() {
                builder.copy_zone(zone)?;
            }
        }
        builder.build()
    };
    let image = build().map_err(|error| Failure::Arguments(error.to_string()))?;
    OwnedZoneSet::new(image).map_err(Failure::Image)
}

/// Starts the tasks that keep the zones up to date; what others are asked is asked over `network`.
pub(crate) fn start<N: UdpBind + TcpConnect>(
    executor: &'static Executor,
    service: &'static Service<'static>,
    state: Option<Arc<State>>,
    mut hangup: HangupSignal,
    files: Vec<ZoneFile>,
    network: &'static N,
) -> Result<(), Failure> {
    let workshop: &'static Workshop = Box::leak(Box::new(Workshop { state }));
    let mut rng = SystemRng::new()?;
    let maintaining = executor
        .spawn(async move { maintain(service, executor, network, workshop, &mut rng).await });
    maintaining?.detach();
    let files = Rc::new(files);
    let reloading = executor.spawn(async move {
        loop {
            hangup.wait().await;
            match files.is_empty() {
                true => warn!("there are no zone files to read again"),
                false => reload(service, &files).await,
            }
        }
    });
    reloading?.detach();
    Ok(())
}

/// Reads the zone files again. Whatever is wrong with one of them, the zones stay as they are.
async fn reload(service: &'static Service<'static>, files: &[ZoneFile]) {
    let Some(current) = service.authority(|authority| authority.zones().clone()) else {
        return;
    };
    let files = files.to_vec();
    let compiling = run_apart("reload", move || {
        let zones = compile(&files)?;
        let read: Vec<(NameBuf, u32)> = zones
            .as_zone_set()
            .zones()
            .map(|zone| (zone.apex().to_owned(), zone.serial()))
            .collect();
        let reload = Reload::new(zones, &current);
        warn_of_old_serials(&read, &reload, &current);
        Ok::<_, Failure>(reload)
    });
    match compiling.await {
        Err(error) => error!("the zones can't be read again: {error}"),
        Ok(Err(failure)) => error!("the zones stay as they are: {failure}"),
        Ok(Ok(reload)) => {
            let count = reload.changed().len();
            warn!("the zones were read again: {count} of them changed");
            service.authority(|authority| authority.reload(reload));
        }
    }
}

/// Of zones that changed and whose author forgot their serial, as who follows them by it does not notice.
fn warn_of_old_serials(read: &[(NameBuf, u32)], reload: &Reload, current: &OwnedZoneSet) {
    let current = current.as_zone_set();
    for apex in reload.changed() {
        let serial = read.iter().find(|(name, _)| name == apex);
        let before = current.zone_at(apex.as_name()).map(|zone| zone.serial());
        if let (Some((_, serial)), Some(before)) = (serial, before)
            && !is_newer(*serial, before)
        {
            warn!(
                "{apex}: the zone file changed, but its serial {serial} is not newer than {before}: secondaries don't fetch it, and \
                 if the zone is changed by updates, it stays as it is"
            );
        }
    }
}

/// So many records are freed in less time than a thread takes to begin.
const FEW_RECORDS: usize = 1_000;

/// Where the next version of the zones is made and stored.
struct Workshop {
    state: Option<Arc<State>>,
}

impl Surroundings for Workshop {
    async fn build(&self, job: BuildJob) -> Built {
        let state = self.state.clone();
        // The records themselves go with the thread: to free millions of them here would keep queries waiting.
        let abandoned = job.abandoned();
        let building = run_apart("zones", move || {
            let base = job.base().clone();
            let mut built = job.run();
            if let Some(state) = state
                && let Err(error) = state.keep(&built)
            {
                error!("the zones can't be kept, and stay as they are: {error}");
                built.discard(&base);
            }
            built
        });
        match building.await {
            Ok(built) => built,
            Err(error) => {
                error!("the zones stay as they are: {error}");
                abandoned
            }
        }
    }

    fn abandon(&self, left: Leftovers) {
        if left.record_count() > FEW_RECORDS {
            // Where there can be no thread, it is dropped here: late answers are better than none.
            let thread = std::thread::Builder::new().name("leftovers".into());
            let _ = thread.spawn(move || drop(left));
        }
    }

    fn is_current(&self, apex: Name<'_>) {
        info!("{apex}: up to date");
        if let Some(state) = &self.state {
            state.is_current(apex);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_that_is_there_twice_is_refused_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let key = |name: &str, algorithm: &str| {
            format!("key \"{name}\" {{ algorithm {algorithm}; secret \"c2VjcmV0\"; }};\n")
        };
        for (second, taken) in [
            (key("other.example", "hmac-sha256"), true),
            (key("k.example", "hmac-sha512"), true),
            (key("K.example", "hmac-sha256"), false),
        ] {
            fs::write(&path, key("k.example", "hmac-sha256") + &second).expect("written");
            let arguments = ChangingArguments {
                keys: vec![path.clone()],
                ..ChangingArguments::default()
            };
            match read_keys(&arguments) {
                Ok(keys) => assert!(taken && keys.len() == 2, "{second}"),
                Err(failure) => assert!(!taken && failure.to_string().contains("twice")),
            }
        }
    }
}
