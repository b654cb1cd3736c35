//! A damaged interpreter, as a race with the running program can show it: whatever comes out, it comes out.

use gilscope::cpython::gil::Gil;
use gilscope::cpython::layout::{Layout, LayoutError};
use gilscope::cpython::locks::{Place, parked_for};
use gilscope::cpython::names::ThreadNames;
use gilscope::cpython::variables::{self, Wanted};
use gilscope::process::memory::MemoryImage;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::interpreter::{FRAME_ROOM, Heap, Interpreter, KINDS, Kind, Plan, RUNTIME};
use crate::objects::look_at;
use crate::watch::{cases, modest};
use crate::whole::{look, own_tid, scan, some_kind, some_plan};

/// Something that happens to a piece of memory.
#[derive(Clone, Debug)]
enum Damage {
    /// Other bytes.
    Bytes(Index, Index, Vec<u8>),
    /// A word that points somewhere else into what there is: freed and used again, or a cycle.
    Pointer(Index, Index, Index, u64),
    /// A word that is a likely number.
    Number(Index, Index, u64),
    /// Its page is missing.
    Gone(Index),
}

fn some_damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let number = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1u64 << 63),
        Just(i64::MAX as u64),
        Just(0xffff_ffff_ffff_fff8),
        0..300u64,
        (0..64u32).prop_map(|bit| 1u64 << bit),
        any::<u64>(),
    ];
    prop_oneof![
        6 => (index(), index(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(p, o, b)| Damage::Bytes(p, o, b)),
        8 => (index(), index(), index(), 0..25u64).prop_map(|(p, o, t, d)| Damage::Pointer(p, o, t, d)),
        8 => (index(), index(), number).prop_map(|(p, o, n)| Damage::Number(p, o, n)),
        1 => index().prop_map(Damage::Gone),
    ]
}

/// Does this to pieces that `may` be damaged.
fn damage(heap: &mut Heap, damages: &[Damage], may: impl Fn(u64) -> bool) {
    let all = heap.pieces.clone();
    let pieces: Vec<_> = all.iter().copied().filter(|&(addr, len)| len > 0 && may(addr)).collect();
    let word = |(addr, len): (u64, u64), at: &Index| addr + at.index((len as usize / 8).max(1)) as u64 * 8;
    for damage in damages {
        match damage {
            Damage::Bytes(piece, at, bytes) => {
                let (addr, len) = pieces[piece.index(pieces.len())];
                heap.put(addr + at.index(len as usize) as u64, bytes);
            }
            Damage::Pointer(piece, at, to, words) => {
                let (to, _) = all[to.index(all.len())];
                heap.put(word(pieces[piece.index(pieces.len())], at), &(to + words * 8).to_le_bytes());
            }
            Damage::Number(piece, at, number) => {
                heap.put(word(pieces[piece.index(pieces.len())], at), &number.to_le_bytes());
            }
            Damage::Gone(piece) => heap.holes.push(pieces[piece.index(pieces.len())].0 & !4095),
        }
    }
}

/// Everything that is ever done with an interpreter's memory.
fn look_at_everything(made: &Interpreter, layout: &Layout) {
    modest(&made.image(), |memory| {
        for &tstate in &made.threads {
            look(memory, layout, tstate);
        }
        let mut names = ThreadNames::default();
        for _ in 0..2 {
            let _ = names.read(memory, layout, made.interp, |_| true);
        }
        for &object in &made.objects {
            look_at(memory, made.kind, layout, object);
        }
        Gil::read(memory, &layout.gil, made.interp);
        scan(memory, layout);
        let wanted = Wanted { objects: made.objects.iter().copied().collect(), ..Wanted::default() };
        let frames: Vec<_> = made.objects.iter().zip(&made.threads).map(|(&code, &frame)| (frame, code)).collect();
        let _ = variables::find(memory, layout, made.interp, &frames, &wanted);
        let place = Place { pid: 0, runtime: RUNTIME, interpreters: &[made.interp], tstates: &made.threads };
        for address in made.objects.iter().flat_map(|object| [*object, object + 10, object + 11, object + 16]) {
            let _ = parked_for(memory, layout, place, address, true);
        }
    });
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn damaged_memory_is_survived(
        kind in some_kind(),
        plans in prop::collection::vec(some_plan(), 1..4),
        damages in prop::collection::vec(some_damage(), 1..40),
    ) {
        let mut made = Interpreter::new(kind, own_tid(), &plans);
        damage(&mut made.heap, &damages, |_| true);
        // The layout was read before.
        let layout = made.layout;
        look_at_everything(&made, &layout);
    }

    /// The same, with all the damage where the walk goes: thread states and frames.
    #[test]
    fn damaged_stacks_are_survived(
        kind in some_kind(),
        plan in some_plan(),
        damages in prop::collection::vec(some_damage(), 1..10),
        table in prop::collection::vec(some_damage(), 0..3),
    ) {
        let mut made = Interpreter::new(kind, own_tid(), std::slice::from_ref(&plan));
        let (first, layout) = (made.threads[0], made.layout);
        damage(&mut made.heap, &damages, |addr| (first..first + 8192).contains(&addr));
        damage(&mut made.runtime, &table, |_| true);
        look_at_everything(&made, &layout);
    }

    #[test]
    fn a_damaged_table_of_offsets_is_refused_or_survived(
        kind in prop::sample::select(&KINDS[5..]),
        plan in some_plan(),
        damages in prop::collection::vec((any::<Index>(), prop_oneof![
            0..8192u64, 0..512u64, (0..64u32).prop_map(|bit| 1u64 << bit), any::<u64>(),
        ]), 1..6),
    ) {
        let mut made = Interpreter::new(kind, own_tid(), std::slice::from_ref(&plan));
        let words = kind.table().len() / 8;
        for (at, value) in damages {
            made.runtime.put(RUNTIME + 8 * at.index(words) as u64, &value.to_le_bytes());
        }
        if let Ok(layout) = Layout::of(&made.image(), RUNTIME, kind.version(), kind.free_threaded) {
            look_at_everything(&made, &layout);
        }
    }

    #[test]
    fn any_table_of_offsets_can_be_read(kind in some_kind(), table in prop::collection::vec(any::<u8>(), 0..1000)) {
        let mut image = MemoryImage::default();
        image.insert(RUNTIME, table);
        let _ = Layout::of(&image, RUNTIME, kind.version(), kind.free_threaded);
    }
}

/// What the table of a newer version says if an entry was put in at `at`, and those behind it are further on.
fn with_one_more(kind: Kind, at: usize) -> Result<Layout, LayoutError> {
    let mut table = kind.table();
    table.splice(at..at, 7272_u64.to_le_bytes());
    let mut image = MemoryImage::default();
    image.insert(RUNTIME, table);
    Layout::of(&image, RUNTIME, kind.version(), kind.free_threaded)
}

#[test]
fn a_newer_version_is_read_by_its_own_table_unless_that_makes_no_sense() {
    let kind = *KINDS.iter().find(|kind| kind.minor == 16).unwrap();
    let layout = kind.layout();
    assert!(layout.unknowns().unwrap().contains("newer"), "{:?}", layout.unknowns());
    assert!(KINDS.iter().all(|known| known.minor == 16 || known.layout().unknowns().is_none()));
    assert!(layout.locks.interpreter.is_empty() && layout.table.is_none());

    // Up to `gc.collecting`, the last entry that is used.
    let words = kind.table().len() / 8;
    let refused: Vec<bool> = (3..words).map(|word| with_one_more(kind, word * 8).is_err()).collect();
    assert!(refused.iter().take(90).all(|&refused| refused));
    let mut image = MemoryImage::default();
    image.insert(RUNTIME, vec![0; kind.table().len()]);
    assert!(Layout::of(&image, RUNTIME, kind.version(), false).is_err(), "nothing but zeros");
}

fn one_thread(kind: Kind) -> Interpreter {
    let call = |entry| crate::interpreter::Call {
        function: "f".to_owned(),
        file: "/f.py".to_owned(),
        first_line: 1,
        lines: vec![1, 2, 3],
        at: 1,
        entry,
        apart: true,
    };
    Interpreter::new(kind, own_tid(), &[Plan { name: "one".to_owned(), stack: vec![call(true), call(false)] }])
}

#[test]
fn a_chain_of_frames_without_an_end_ends() {
    for kind in KINDS {
        let mut made = one_thread(kind);
        let layout = made.layout;
        // Every frame calls itself.
        let frames: Vec<u64> =
            made.heap.pieces.iter().filter(|piece| piece.1 == FRAME_ROOM).map(|piece| piece.0).collect();
        assert!(frames.len() >= 2);
        for frame in frames {
            made.heap.put(frame + layout.frame.previous, &frame.to_le_bytes());
        }
        let seen = modest(&made.image(), |memory| look(memory, &layout, made.threads[0]));
        assert_eq!(seen, None, "{kind:?}");
    }
}

#[test]
fn a_list_of_threads_without_an_end_ends() {
    for kind in KINDS {
        let mut made = one_thread(kind);
        let layout = made.layout;
        let tstate = made.threads[0];
        made.heap.put(tstate + layout.thread.next, &tstate.to_le_bytes());
        look_at_everything(&made, &layout);
    }
}

#[test]
fn a_list_of_interpreters_without_an_end_ends() {
    for kind in KINDS {
        let mut made = one_thread(kind);
        let layout = made.layout;
        let (tstate, interp) = (made.threads[0], made.interp);
        made.heap.put(interp + layout.interp_next, &interp.to_le_bytes());
        look_at_everything(&made, &layout);
        // And one in the other.
        made.heap.put(tstate + layout.thread.next, &tstate.to_le_bytes());
        look_at_everything(&made, &layout);
    }
}
