/* Prints the offsets of the CPython whose headers it is compiled with, as a Rust constant. Compiled and run by `generate`; what
   the fields mean is said where they are declared, in mod.rs. */

#define Py_BUILD_CORE 1
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define SINCE(minor) SINCE_PATCH(minor, 0)
/* Pre-releases count as the release: PY_VERSION_HEX without level and serial. */
#define SINCE_PATCH(minor, patch) ((PY_VERSION_HEX | 0xff) >= (0x03000000 | (minor) << 16 | (patch) << 8))

#include <pycore_gil.h>
#include <pycore_pystate.h>
#if SINCE(9)
#include <pycore_interp.h>
#include <pycore_runtime.h>
#endif
#if SINCE(10)
#include <pycore_moduleobject.h>
#endif
#if SINCE(11)
#include <pycore_dict.h>
#include <pycore_frame.h>
#endif
#if SINCE(13)
#include <pycore_critical_section.h>
#endif
#if SINCE(14)
#include <pycore_interpframe.h>
#endif

/* The columns of a line that are in use. */
static int column;

static void line(const char *text)
{
    printf(column != 0 ? "\n%s\n" : "%s\n", text);
    column = 0;
}

/* Appends an item to the line, or begins another if it does not fit. */
static void item(const char *format, ...)
{
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (column != 0 && column + 1 + length > 110) {
        putchar('\n');
        column = 0;
    }
    column += printf(column != 0 ? " %s" : "        %s", text);
}

/* One field of the table: that a build always has, and that some do not have. */
#define AT(name, type, member) item("%s: %zu,", #name, offsetof(type, member))
#define SIZE(name, type) item("%s: %zu,", #name, sizeof(type))
#define SOME(name, value) item("%s: Some(%zu),", #name, (size_t)(value))
#define SOME_AT(name, type, member) SOME(name, offsetof(type, member))
#define NONE(name) item("%s: None,", #name)

/* The same for fields of some versions only; elsewhere the member need not exist. */
#if SINCE(9)
#define SINCE_9(name, type, member) SOME_AT(name, type, member)
#define ONLY_8(name, type, member) NONE(name)
#else
#define SINCE_9(name, type, member) NONE(name)
#define ONLY_8(name, type, member) SOME_AT(name, type, member)
#endif
#if SINCE(11)
#define SINCE_11(name, type, member) SOME_AT(name, type, member)
#define UNTIL_10(name, type, member) NONE(name)
#else
#define SINCE_11(name, type, member) NONE(name)
#define UNTIL_10(name, type, member) SOME_AT(name, type, member)
#endif
#if SINCE(12)
#define SINCE_12(name, type, member) SOME_AT(name, type, member)
#define UNTIL_11(name, type, member) NONE(name)
#else
#define SINCE_12(name, type, member) NONE(name)
#define UNTIL_11(name, type, member) SOME_AT(name, type, member)
#endif
#if SINCE(13)
#define SINCE_13(name, type, member) SOME_AT(name, type, member)
#else
#define SINCE_13(name, type, member) NONE(name)
#endif
#if SINCE(15)
#define SINCE_15(name, type, member) SOME_AT(name, type, member)
#else
#define SINCE_15(name, type, member) NONE(name)
#endif
#ifdef Py_GIL_DISABLED
#define FREE_THREADED(name, type, member) SOME_AT(name, type, member)
#else
#define FREE_THREADED(name, type, member) NONE(name)
#endif
#if defined(Py_GIL_DISABLED) && SINCE(14)
#define FREE_THREADED_14(name, type, member) SOME_AT(name, type, member)
#else
#define FREE_THREADED_14(name, type, member) NONE(name)
#endif

/* Types that were called otherwise. */
#if !SINCE(9)
typedef struct _is Interpreter;
#else
typedef PyInterpreterState Interpreter;
#endif
#if SINCE(11)
typedef struct _PyInterpreterFrame Frame;
typedef struct _dictkeysobject DictKeys;
#else
typedef PyFrameObject Frame;
#endif

static void runtime(void)
{
    line("    runtime: RuntimeOffsets {");
#if SINCE(13)
    SOME(size, sizeof(_PyRuntimeState));
#else
    NONE(size);
#endif
    AT(interpreters_head, _PyRuntimeState, interpreters.head);
    AT(interpreters_main, _PyRuntimeState, interpreters.main);
    UNTIL_11(gil, _PyRuntimeState, ceval.gil);
    ONLY_8(gc_collecting, _PyRuntimeState, gc.collecting);
    line("    },");
}

static void interpreter(void)
{
    line("    interpreter: InterpreterOffsets {");
#if SINCE(13)
    SOME(size, sizeof(Interpreter));
#else
    NONE(size);
#endif
    AT(id, Interpreter, id);
    AT(next, Interpreter, next);
#if SINCE(11)
    AT(threads_head, Interpreter, threads.head);
#else
    AT(threads_head, Interpreter, tstate_head);
#endif
#if SINCE(12)
    AT(modules, Interpreter, imports.modules);
#else
    AT(modules, Interpreter, modules);
#endif
    SINCE_12(gil, Interpreter, ceval.gil);
    SINCE_13(own_gil, Interpreter, _gil);
    SINCE_13(gc, Interpreter, gc);
    SINCE_9(gc_collecting, Interpreter, gc.collecting);
    FREE_THREADED(world_stopped, Interpreter, stoptheworld.world_stopped);
    FREE_THREADED(stop_requester, Interpreter, stoptheworld.requester);
    line("    },");
}

static void thread(void)
{
    line("    thread: ThreadStateOffsets {");
    SIZE(size, PyThreadState);
    AT(next, PyThreadState, next);
    AT(interp, PyThreadState, interp);
    UNTIL_10(frame, PyThreadState, frame);
#if SINCE(10) && !SINCE(13)
    SOME_AT(cframe, PyThreadState, cframe);
#else
    NONE(cframe);
#endif
#if SINCE(11) && !SINCE(13)
    SOME_AT(cframe_current_frame, _PyCFrame, current_frame);
#else
    NONE(cframe_current_frame);
#endif
    SINCE_13(current_frame, PyThreadState, current_frame);
    SINCE_15(base_frame, PyThreadState, base_frame);
    AT(thread_id, PyThreadState, thread_id);
    SINCE_11(native_thread_id, PyThreadState, native_thread_id);
    SINCE_11(datastack_chunk, PyThreadState, datastack_chunk);
    SINCE_11(datastack_top, PyThreadState, datastack_top);
    SINCE_13(status, PyThreadState, _status);
#if SINCE(14)
    item("holds_gil: Some((%zu, 1)),", offsetof(PyThreadState, holds_gil));
#elif SINCE(13)
    PyThreadState state;
    unsigned int bits;
    memset(&state, 0, sizeof(state));
    state._status.holds_gil = 1;
    memcpy(&bits, &state._status, sizeof(bits));
    item("holds_gil: Some((%zu, %u)),", offsetof(PyThreadState, _status), bits);
#else
    NONE(holds_gil);
#endif
    SINCE_13(state, PyThreadState, state);
    FREE_THREADED(critical_section, PyThreadState, critical_section);
    line("    },");
}

static void frame(void)
{
    line("    frame: FrameOffsets {");
#if SINCE(13)
    AT(previous, Frame, previous);
    AT(code, Frame, f_executable);
    AT(instr, Frame, instr_ptr);
#elif SINCE(11)
    AT(previous, Frame, previous);
    AT(code, Frame, f_code);
    AT(instr, Frame, prev_instr);
#else
    AT(previous, Frame, f_back);
    AT(code, Frame, f_code);
    AT(instr, Frame, f_lasti);
#endif
#if SINCE(11)
    AT(locals, Frame, localsplus);
#else
    AT(locals, Frame, f_localsplus);
#endif
    SINCE_11(owner, Frame, owner);
    FREE_THREADED_14(tlbc_index, Frame, tlbc_index);
    UNTIL_10(value_stack, Frame, f_valuestack);
    UNTIL_10(block_count, Frame, f_iblock);
    UNTIL_10(block_stack, Frame, f_blockstack);
#if SINCE(11)
    NONE(block_size);
#else
    SOME(block_size, sizeof(PyTryBlock));
#endif
    UNTIL_10(block_level, PyTryBlock, b_level);
    line("    },");
}

static void chunk(void)
{
#if SINCE(11)
    line("    chunk: Some(ChunkOffsets {");
    AT(previous, _PyStackChunk, previous);
    AT(size, _PyStackChunk, size);
    AT(top, _PyStackChunk, top);
    AT(data, _PyStackChunk, data);
    line("    }),");
#else
    line("    chunk: None,");
#endif
}

static void code(void)
{
    line("    code: CodeOffsets {");
    AT(filename, PyCodeObject, co_filename);
    AT(name, PyCodeObject, co_name);
    SINCE_11(qualname, PyCodeObject, co_qualname);
    AT(first_line, PyCodeObject, co_firstlineno);
#if SINCE(10)
    AT(line_table, PyCodeObject, co_linetable);
#else
    AT(line_table, PyCodeObject, co_lnotab);
#endif
#if SINCE(11)
    AT(local_names, PyCodeObject, co_localsplusnames);
#else
    AT(local_names, PyCodeObject, co_varnames);
#endif
    UNTIL_10(cell_names, PyCodeObject, co_cellvars);
    UNTIL_10(free_names, PyCodeObject, co_freevars);
    SINCE_11(exception_table, PyCodeObject, co_exceptiontable);
    SINCE_11(bytecode, PyCodeObject, co_code_adaptive);
    FREE_THREADED_14(tlbc, PyCodeObject, co_tlbc);
#if defined(Py_GIL_DISABLED) && SINCE(14)
    SOME_AT(tlbc_entries, _PyCodeArray, entries);
#else
    NONE(tlbc_entries);
#endif
    line("    },");
}

static void objects(void)
{
    line("    object: ObjectOffsets {");
    SIZE(header, PyObject);
    AT(ob_type, PyObject, ob_type);
    AT(ob_size, PyVarObject, ob_size);
    FREE_THREADED(ob_tid, PyObject, ob_tid);
    FREE_THREADED(ob_mutex, PyObject, ob_mutex);
    FREE_THREADED(ob_gc_bits, PyObject, ob_gc_bits);
    FREE_THREADED(ob_ref_local, PyObject, ob_ref_local);
    FREE_THREADED(ob_ref_shared, PyObject, ob_ref_shared);
    AT(tuple_items, PyTupleObject, ob_item);
    AT(list_items, PyListObject, ob_item);
    AT(bytes_data, PyBytesObject, ob_sval);
    AT(str_length, PyASCIIObject, length);
    AT(str_state, PyASCIIObject, state);
    SIZE(str_ascii, PyASCIIObject);
    SIZE(str_compact, PyCompactUnicodeObject);
#if SINCE(12)
    AT(int_tag, PyLongObject, long_value.lv_tag);
    AT(int_digits, PyLongObject, long_value.ob_digit);
#else
    AT(int_tag, PyVarObject, ob_size);
    AT(int_digits, struct _longobject, ob_digit);
#endif
    AT(float_value, PyFloatObject, ob_fval);
    AT(set_used, PySetObject, used);
    AT(dict_used, PyDictObject, ma_used);
    AT(dict_keys, PyDictObject, ma_keys);
    AT(dict_values, PyDictObject, ma_values);
    AT(cell_value, PyCellObject, ob_ref);
    AT(func_code, PyFunctionObject, func_code);
    AT(func_closure, PyFunctionObject, func_closure);
    AT(func_qualname, PyFunctionObject, func_qualname);
    AT(method_function, PyMethodObject, im_func);
    AT(builtin_self, PyCFunctionObject, m_self);
    AT(builtin_definition, PyCFunctionObject, m_ml);
#if SINCE(10)
    AT(module_dict, PyModuleObject, md_dict);
#else
    /* Private to Objects/moduleobject.c, where it is the first field. */
    SIZE(module_dict, PyObject);
#endif
#if defined(Py_GIL_DISABLED) && SINCE(15)
    SOME_AT(module_definition, PyModuleObject, md_token);
    SOME_AT(module_gil, PyModuleObject, md_requires_gil);
#elif defined(Py_GIL_DISABLED)
    SOME_AT(module_definition, PyModuleObject, md_def);
    SOME_AT(module_gil, PyModuleObject, md_gil);
#else
    NONE(module_definition);
    NONE(module_gil);
#endif
    SIZE(type_size, PyTypeObject);
    AT(tp_name, PyTypeObject, tp_name);
    AT(tp_basicsize, PyTypeObject, tp_basicsize);
    AT(tp_flags, PyTypeObject, tp_flags);
    AT(tp_members, PyTypeObject, tp_members);
    AT(tp_base, PyTypeObject, tp_base);
    AT(tp_dict, PyTypeObject, tp_dict);
    AT(tp_dictoffset, PyTypeObject, tp_dictoffset);
    AT(cached_keys, PyHeapTypeObject, ht_cached_keys);
    SIZE(member_size, PyMemberDef);
    AT(member_name, PyMemberDef, name);
    AT(member_type, PyMemberDef, type);
    AT(member_offset, PyMemberDef, offset);
    line("    },");
}

static void keys(void)
{
#if SINCE(11)
    line("    keys: Some(KeysOffsets {");
    AT(log2_size, DictKeys, dk_log2_size);
    AT(log2_index_bytes, DictKeys, dk_log2_index_bytes);
    AT(kind, DictKeys, dk_kind);
    AT(usable, DictKeys, dk_usable);
    AT(entries, DictKeys, dk_nentries);
    AT(indices, DictKeys, dk_indices);
    FREE_THREADED(mutex, DictKeys, dk_mutex);
    AT(values, struct _dictvalues, values);
    line("    }),");
#else
    line("    keys: None,");
#endif
}

static void gil(void)
{
    line("    gil: GilOffsets {");
    SIZE(size, struct _gil_runtime_state);
    FREE_THREADED(enabled, struct _gil_runtime_state, enabled);
    AT(interval, struct _gil_runtime_state, interval);
    AT(last_holder, struct _gil_runtime_state, last_holder);
    AT(locked, struct _gil_runtime_state, locked);
    AT(switch_number, struct _gil_runtime_state, switch_number);
    AT(cond, struct _gil_runtime_state, cond);
    AT(switch_cond, struct _gil_runtime_state, switch_cond);
    line("    },");
}

static void critical_sections(void)
{
#ifdef Py_GIL_DISABLED
    line("    critical_section: Some(CriticalSectionOffsets {");
    AT(previous, PyCriticalSection, _cs_prev);
    AT(mutex, PyCriticalSection, _cs_mutex);
    AT(second_mutex, PyCriticalSection2, _cs_mutex2);
    line("    }),");
#else
    line("    critical_section: None,");
#endif
}

/* Where `_Py_DebugOffsets` has each entry. */
static void debug_offsets(void)
{
#if SINCE(13)
    line("    debug_offsets: Some(DebugOffsets {");
    SIZE(size, _Py_DebugOffsets);
#define ENTRY(name, member) AT(name, _Py_DebugOffsets, member)
    ENTRY(runtime_size, runtime_state.size);
    ENTRY(interpreters_head, runtime_state.interpreters_head);
    ENTRY(interp_size, interpreter_state.size);
    ENTRY(interp_id, interpreter_state.id);
    ENTRY(interp_next, interpreter_state.next);
    ENTRY(interp_threads_head, interpreter_state.threads_head);
    ENTRY(interp_gc, interpreter_state.gc);
    ENTRY(interp_modules, interpreter_state.imports_modules);
    ENTRY(interp_ceval_gil, interpreter_state.ceval_gil);
    ENTRY(interp_own_gil, interpreter_state.gil_runtime_state);
    ENTRY(interp_gil_locked, interpreter_state.gil_runtime_state_locked);
    ENTRY(interp_gil_holder, interpreter_state.gil_runtime_state_holder);
    ENTRY(thread_size, thread_state.size);
    ENTRY(thread_next, thread_state.next);
    ENTRY(thread_interp, thread_state.interp);
    ENTRY(thread_current_frame, thread_state.current_frame);
    ENTRY(thread_id, thread_state.thread_id);
    ENTRY(thread_native_id, thread_state.native_thread_id);
    ENTRY(thread_datastack_chunk, thread_state.datastack_chunk);
    ENTRY(thread_status, thread_state.status);
    ENTRY(frame_previous, interpreter_frame.previous);
    ENTRY(frame_executable, interpreter_frame.executable);
    ENTRY(frame_instr_ptr, interpreter_frame.instr_ptr);
    ENTRY(frame_locals, interpreter_frame.localsplus);
    ENTRY(frame_owner, interpreter_frame.owner);
    ENTRY(code_filename, code_object.filename);
    ENTRY(code_name, code_object.name);
    ENTRY(code_qualname, code_object.qualname);
    ENTRY(code_linetable, code_object.linetable);
    ENTRY(code_firstlineno, code_object.firstlineno);
    ENTRY(code_localsplusnames, code_object.localsplusnames);
    ENTRY(code_adaptive, code_object.co_code_adaptive);
    ENTRY(pyobject_size, pyobject.size);
    ENTRY(pyobject_type, pyobject.ob_type);
    ENTRY(type_size, type_object.size);
    ENTRY(type_name, type_object.tp_name);
    ENTRY(type_flags, type_object.tp_flags);
    ENTRY(tuple_items, tuple_object.ob_item);
    ENTRY(list_items, list_object.ob_item);
    ENTRY(dict_keys, dict_object.ma_keys);
    ENTRY(dict_values, dict_object.ma_values);
    ENTRY(float_value, float_object.ob_fval);
    ENTRY(int_tag, long_object.lv_tag);
    ENTRY(int_digits, long_object.ob_digit);
    ENTRY(bytes_ob_size, bytes_object.ob_size);
    ENTRY(bytes_sval, bytes_object.ob_sval);
    ENTRY(unicode_state, unicode_object.state);
    ENTRY(unicode_length, unicode_object.length);
    ENTRY(unicode_ascii_size, unicode_object.asciiobject_size);
    ENTRY(gc_collecting, gc.collecting);
    SINCE_15(type_basicsize, _Py_DebugOffsets, type_object.tp_basicsize);
    SINCE_15(type_dictoffset, _Py_DebugOffsets, type_object.tp_dictoffset);
    SINCE_15(type_cached_keys, _Py_DebugOffsets, heap_type_object.ht_cached_keys);
    SINCE_15(unicode_compact_size, _Py_DebugOffsets, unicode_object.compactunicodeobject_size);
    SINCE_15(thread_base_frame, _Py_DebugOffsets, thread_state.base_frame);
    SINCE_15(thread_holds_gil, _Py_DebugOffsets, thread_state.holds_gil);
    FREE_THREADED_14(frame_tlbc_index, _Py_DebugOffsets, interpreter_frame.tlbc_index);
    FREE_THREADED_14(code_tlbc, _Py_DebugOffsets, code_object.co_tlbc);
    line("    }),");
#else
    line("    debug_offsets: None,");
#endif
}

/* Locks that are not part of an object, by the names that the report gives them. */
static void locks(void)
{
#define LOCK(name, type, member) item("(\"%s\", %zu),", name, offsetof(type, member))
#define RUNTIME(member) LOCK(#member, _PyRuntimeState, member)
#define INTERPRETER(member) LOCK(#member, Interpreter, member)
#define ARRAY(name, member, lock) \
    item("LockArray { name: \"%s\", first: %zu, count: %zu, stride: %zu },", name, offsetof(Interpreter, member[0] lock), \
           sizeof(((Interpreter *)0)->member) / sizeof(((Interpreter *)0)->member[0]), sizeof(((Interpreter *)0)->member[0]))
    line("    runtime_locks: &[");
#if SINCE(13)
    RUNTIME(interpreters.mutex);
#if SINCE(14)
    LOCK("xi.registry.mutex", _PyRuntimeState, xi.data_lookup.registry.mutex);
    RUNTIME(tracemalloc.tables_lock);
#else
    RUNTIME(xi.registry.mutex);
    RUNTIME(ceval.sys_trace_profile_mutex);
#endif
    RUNTIME(allocators.mutex);
    RUNTIME(atexit.mutex);
    RUNTIME(imports.extensions.mutex);
    RUNTIME(ceval.pending_mainthread.mutex);
    RUNTIME(stoptheworld.mutex);
    RUNTIME(stoptheworld.stop_event);
    RUNTIME(audit_hooks.mutex);
    RUNTIME(unicode_state.ids.mutex);
#endif
    line("    ],");
    line("    interpreter_locks: &[");
#if SINCE(13)
    INTERPRETER(ceval.pending.mutex);
    INTERPRETER(imports.lock);
    INTERPRETER(stoptheworld.mutex);
    INTERPRETER(stoptheworld.stop_event);
    INTERPRETER(qsbr.mutex);
    INTERPRETER(code_state.mutex);
    INTERPRETER(mem_free_queue.mutex);
    INTERPRETER(types.mutex);
#endif
#if SINCE(13) && !SINCE(14)
    INTERPRETER(xi.registry.mutex);
    LOCK("warnings.lock", Interpreter, warnings.mutex);
#elif SINCE(14)
    LOCK("xi.registry.mutex", Interpreter, xi.data_lookup.registry.mutex);
    INTERPRETER(warnings.lock);
    INTERPRETER(asyncio_tasks_lock);
#endif
#if SINCE_PATCH(14, 6)
    INTERPRETER(dict_state.watcher_mutex);
#endif
#ifdef Py_GIL_DISABLED
    INTERPRETER(codecs.search_path_mutex);
    INTERPRETER(func_state.mutex);
#if SINCE_PATCH(13, 3)
    LOCK("memerrors_lock", Interpreter, exc_state.memerrors_lock);
#endif
#if SINCE(14)
    INTERPRETER(atexit.ll_callbacks_lock);
    INTERPRETER(unique_ids.mutex);
    INTERPRETER(tlbc_indices.mutex);
    LOCK("interned strings", Interpreter, cached_objects.interned_mutex);
#endif
#if SINCE(14) && !SINCE(15)
    INTERPRETER(gc.mutex);
#endif
#if SINCE(15)
    INTERPRETER(imports.lazy_mutex);
    LOCK("descriptor_mutex", Interpreter, cached_objects.descriptor_mutex);
#endif
#endif
    line("    ],");
    line("    lock_arrays: &[");
#ifdef Py_GIL_DISABLED
    ARRAY("brc.table", brc.table, .mutex);
    ARRAY("weakref_locks", weakref_locks, );
#endif
    line("    ],");
}

int main(void)
{
    line("pub(super) const OFFSETS: BuildOffsets = BuildOffsets {");
    runtime();
    interpreter();
    thread();
    frame();
    chunk();
    code();
    objects();
    keys();
    gil();
    critical_sections();
    debug_offsets();
    locks();
    line("};");
    return 0;
}
