//! The stage of a scenario: a space of its own, and programs over it; afterwards a check that nothing is left behind.

use std::cell::{Cell, RefCell};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::driver::{Backend, Driver, Language, OpenSpace, Place, Sizes};
use crate::negative_control::{NegativeControl, Saboteur};
use crate::order::{Answer, Fault, InUse, New, Order, Sort, Thing};
use crate::program::Program;
use tenure_testkit::die_with_parent;

/// The name of the space of the stage with this process number; none begins with another.
pub(crate) fn name_of(stage: u32) -> String {
    format!("conformance-{stage:08}")
}

/// A space and the programs over it.
pub struct Stage {
    language: Language,
    place: Place,
    sizes: Sizes,
    open_space: Arc<dyn OpenSpace>,
    look: RefCell<Box<dyn Driver>>,
    killed: Arc<AtomicBool>,
    negative_control: Option<NegativeControl>,
    spaces: Cell<u32>,
    folder: PathBuf,
}

impl Stage {
    /// Creates the space. Files lie in `folder`. Programs make the mistake of the negative control, if one is given.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn new(
        backend: Backend,
        language: Language,
        sizes: Sizes,
        folder: &Path,
        negative_control: Option<NegativeControl>,
    ) -> Result<Self, Fault> {
        // Orphaned children of forked programs become ours.
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        let name = name_of(std::process::id());
        let folder = folder.join(&name);
        std::fs::create_dir(&folder)?;
        let place = Place { backend, path: folder.join("space"), name };
        let open_space = language.create(&place, &sizes)?;
        let look = RefCell::new(Arc::clone(&open_space).driver());
        let (killed, spaces) = (Arc::default(), Cell::new(0));
        Ok(Self { language, place, sizes, open_space, look, killed, negative_control, spaces, folder })
    }

    /// A program that is no member yet.
    ///
    /// Where a space has a name, a path or a descriptor, the program attaches by it; otherwise it inherits the space.
    pub fn stranger(&self) -> Program {
        let (language, place, fd) = (self.language, self.place.clone(), self.open_space.fd());
        let open_space = Arc::clone(&self.open_space);
        let negative_control = self.negative_control;
        let driver = move || {
            let driver = match place.backend {
                Backend::Anonymous | Backend::Private => open_space.driver(),
                _ => language.attach(&place, fd).expect("a space to attach to").driver(),
            };
            negative_control
                .into_iter()
                .fold(driver, |driver, negative_control| Box::new(Saboteur { driver, negative_control }))
        };
        Program::start(self.has_processes(), driver, Arc::clone(&self.killed))
    }

    /// A program that is a member.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn program(&self) -> Result<Program, Fault> {
        let mut program = self.stranger();
        program.join()?;
        Ok(program)
    }

    /// Two programs that are members.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn two(&self) -> Result<(Program, Program), Fault> {
        Ok((self.program()?, self.program()?))
    }

    /// So many programs that are members and hold the same object; the first of them created it.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn sharing<const N: usize>(&self, new: New) -> Result<[(Program, Thing); N], Fault> {
        let sort = new.sort();
        let mut creator = self.program()?;
        let thing = creator.make(new)?;
        let mut all = vec![(creator, thing)];
        while all.len() < N {
            let mut program = self.program()?;
            let opened = program.open_as(sort, thing.token)?;
            all.push((program, opened));
        }
        Ok(all.try_into().expect("so many programs"))
    }

    /// So many programs that have the object open and wait for it.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn waiters(&self, number: usize, sort: Sort, token: u64) -> Result<Vec<(Program, Thing)>, Fault> {
        let mut waiting = Vec::new();
        for _ in 0..number {
            let mut program = self.program()?;
            let thing = program.open_as(sort, token)?;
            program.begin_to_take(thing);
            waiting.push((program, thing));
        }
        Ok(waiting)
    }

    /// A token of another space.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn foreign_token(&self) -> Result<u64, Fault> {
        loop {
            self.spaces.set(self.spaces.get() + 1);
            let name = format!("{}-other-{}", self.place.name, self.spaces.get());
            let place = Place { backend: Backend::Private, path: PathBuf::new(), name };
            // In a process of its own, which may have threads.
            let (mut reader, mut writer) = std::io::pipe()?;
            // SAFETY: the child does this only and leaves by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                use std::io::Write;
                die_with_parent();
                let token = (|| {
                    let mut driver = self.language.create(&place, &self.sizes)?.driver();
                    driver.obey(&Order::Join)?;
                    match driver.obey(&Order::Create(crate::wishes::raw(b"elsewhere")))? {
                        Answer::Thing(thing) => Ok(thing.token),
                        other => Err(Fault::Other(format!("{other:?}"))),
                    }
                })();
                let _ = writer.write_all(&token.unwrap_or(0).to_le_bytes());
                // SAFETY: ends the child without running anything of its parent's.
                unsafe { libc::_exit(0) };
            }
            drop(writer);
            let mut bytes = [0; 8];
            let read = std::io::Read::read_exact(&mut reader, &mut bytes);
            crate::program::reap(child)?;
            read?;
            let token = u64::from_le_bytes(bytes);
            assert_ne!(token, 0, "a token of another space");
            // One space in 255 has the same tag.
            let mut own = self.program()?;
            if own.create(b"here")?.token >> 56 != token >> 56 {
                return Ok(token);
            }
        }
    }

    /// Whether programs are processes.
    pub fn has_processes(&self) -> bool {
        self.place.backend != Backend::Private
    }

    /// For scenarios with programs that are forked, stopped or killed.
    ///
    /// # Errors
    ///
    /// [`Fault::OneProcessOnly`].
    pub fn needs_processes(&self) -> Result<(), Fault> {
        if self.has_processes() { Ok(()) } else { Err(Fault::OneProcessOnly) }
    }

    /// A path that is removed afterwards.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("a path of UTF-8").to_owned()
    }

    /// The counts of objects in use.
    pub fn in_use(&self) -> InUse {
        match self.look.borrow_mut().obey(&Order::Stats) {
            Ok(Answer::InUse(stats)) => stats,
            other => panic!("stats: {other:?}"),
        }
    }

    /// The violations and pending states of the space, as text; empty if there are none.
    pub fn findings(&self) -> Vec<String> {
        match self.look.borrow_mut().obey(&Order::Check) {
            Ok(Answer::Report(mut violations, pending)) => {
                violations.extend(pending.into_iter().map(|what| format!("pending: {what}")));
                violations
            }
            other => panic!("check: {other:?}"),
        }
    }

    /// Checks that no member is left in the space, that there are no violations, and that it is removed without a
    /// trace.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn finish(self) -> Result<(), Fault> {
        // Relaxed: set by this thread.
        if self.killed.load(Ordering::Relaxed) {
            let mut last = self.program()?;
            last.recover()?;
            last.leave()?;
        }
        assert_eq!(self.findings(), [] as [&str; 0], "check() after everybody left");
        assert_eq!(self.in_use(), InUse::default(), "what is in use after everybody left");
        match self.look.borrow_mut().obey(&Order::Names) {
            Ok(Answer::Names(names)) => assert_eq!(names, [], "names after everybody left"),
            Err(Fault::NotInThisLanguage(_)) => {}
            other => panic!("names: {other:?}"),
        }
        // SAFETY: no memory is involved.
        let child = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(child, -1, "a process is left behind");
        let Self { language, place, open_space, look, folder, .. } = self;
        drop((look, open_space));
        language.remove(&place)?;
        if matches!(place.backend, Backend::Shm | Backend::File | Backend::SysV) {
            assert!(language.attach(&place, None).is_err(), "the space is there after it was removed");
        }
        let in_memory = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        let left: Vec<_> = in_memory
            .filter(|entry| entry.file_name().to_string_lossy().contains(&place.name))
            .map(|entry| entry.file_name())
            .collect();
        assert!(left.is_empty(), "left behind in /dev/shm: {left:?}");
        if place.backend == Backend::File {
            let files: Vec<_> = std::fs::read_dir(&folder)?
                .flatten()
                .map(|entry| entry.file_name())
                .filter(|name| name.to_string_lossy().starts_with("space"))
                .collect();
            assert!(files.is_empty(), "left behind: {files:?}");
        }
        Ok(())
    }
}

/// A process that is no member: it does nothing until it is told to end, by a shell's command.
pub struct Target(Child);

impl Target {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn start(then: &str) -> Result<Self, Fault> {
        let script = format!("read line; {then}");
        Ok(Self(Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn()?))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Makes the process end, without reaping it.
    pub fn end(&mut self) {
        drop(self.0.stdin.take());
    }

    /// Reaps the process; returns its end, as waitpid has it.
    pub fn reap(&mut self) -> i32 {
        self.end();
        self.0.wait().expect("a child of ours").into_raw()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
