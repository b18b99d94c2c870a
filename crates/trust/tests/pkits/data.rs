//! The files of PKITS, and which of them were read: one that no test reads fails the run.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A folder with `certs/*.crt` and `crls/*.crl`.
pub(crate) struct Data {
    folder: PathBuf,
    read: RefCell<BTreeSet<String>>,
}

impl Data {
    /// `MEBUKU_PKITS`, or else where `scripts/pkits.sh` puts the files.
    pub(crate) fn find() -> Option<Self> {
        let named = std::env::var_os("MEBUKU_PKITS").map(PathBuf::from);
        if let Some(folder) = &named {
            assert!(folder.join("certs").is_dir(), "MEBUKU_PKITS: no certs/ in {folder:?}");
        }
        let folder = named.or_else(installed)?;
        Some(Self { folder, read: RefCell::default() })
    }

    /// `name` is that of a file with its ending, which says in which folder it lies.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let path = self.folder.join(folder_of(name)).join(name);
        self.read.borrow_mut().insert(name.to_owned());
        fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    /// Files of either folder that were never read.
    pub(crate) fn unread(&self) -> Vec<String> {
        let names = ["certs", "crls"].into_iter().flat_map(|folder| {
            let entries = fs::read_dir(self.folder.join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        });
        let read = self.read.borrow();
        let mut unread: Vec<String> = names.filter(|name| !read.contains(name)).collect();
        unread.sort();
        unread
    }

    pub(crate) fn read_count(&self, ending: &str) -> usize {
        self.read.borrow().iter().filter(|name| name.ends_with(ending)).count()
    }
}

fn folder_of(name: &str) -> &'static str {
    if name.ends_with(".crl") { "crls" } else { "certs" }
}

/// The newest folder `pkits-<version>` of the tools.
fn installed() -> Option<PathBuf> {
    let tools = std::env::var_os("MEBUKU_TOOLS_DIR").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cache/mebuku/tools"))
    })?;
    let entries = fs::read_dir(tools).ok()?.filter_map(Result::ok);
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("pkits-"));
        name && path.join("certs").is_dir() && path.join("crls").is_dir()
    };
    entries.map(|entry| entry.path()).filter(is_ours).max()
}
