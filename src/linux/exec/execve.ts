import { CTL, REG } from '../../machine/execution-context.ts'
import { NO_RESULT } from '../entry/syscall-entry.ts'
import { E2BIG, EACCES, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOEXEC } from '../errno.ts'
import { O_RDONLY, type OpenFile, S_IFMT, S_IFREG } from '../file.ts'
import { flushFpu } from '../fpu/lifecycle.ts'
import { walkPath } from '../fs/path-walk.ts'
import { RLIMIT_STACK } from '../limits.ts'
import type { Mm } from '../mm/mm.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import { finishVfork } from '../proc/exit.ts'
import { setInitialSegments } from '../segments/user-segments.ts'
import { freeArea } from '../shstk/area.ts'
import { noShadowStack } from '../shstk/thread.ts'
import { resetAltStack } from '../signal/alt-stack.ts'
import { killTask } from '../signal/send.ts'
import type { Task } from '../task.ts'
import { waitUntil } from '../wait-queue.ts'
import { type ElfProgram, readElf } from './elf.ts'
import { mapProgram } from './load.ts'
import { ProgramError } from './program-error.ts'
import { buildStack } from './stack.ts'

const MAX_ARGUMENTS = 0x7fffff
const MAX_STRING = 131072

/** Opens the file a path names as a program; -errno. */
export function openProgram(task: Task, dirfd: number, path: string): OpenFile | number {
  const found = walkPath(task, dirfd, path, true)
  if (typeof found === 'number') return found
  if (found.file !== null) return found.file.retain()
  const { node } = found
  if (node === null) return -ENOENT
  if (node.isDirectory) return -EACCES
  if ((node.mode & S_IFMT) !== S_IFREG || (node.mode & 0o111) === 0) return -EACCES
  return node.open(task, O_RDONLY, found.path)
}

/** execve(2) and execveat(2). */
export function execve(
  task: Task,
  dirfd: number,
  pathUser: number,
  argvUser: number,
  envpUser: number,
): MaybePreemptible<number> {
  const path = task.mm.stringFromUser(pathUser)
  if (path === null) return -EFAULT
  if (path === undefined) return -ENAMETOOLONG
  const argv = readStrings(task, argvUser)
  if (typeof argv === 'number') return argv
  const envp = readStrings(task, envpUser)
  if (typeof envp === 'number') return envp
  return replaceProgram(task, dirfd, path, argv.length === 0 ? [''] : argv, envp)
}

function readStrings(task: Task, user: number): string[] | number {
  const texts: string[] = []
  if (user === 0) return texts
  for (let i = 0; i < MAX_ARGUMENTS; i++) {
    const pointer = task.mm.getUserLong(user + i * 8)
    if (Number.isNaN(pointer)) return -EFAULT
    if (pointer === 0) return texts
    const text = task.mm.stringFromUser(pointer, MAX_STRING)
    if (text === null) return -EFAULT
    if (text === undefined) return -E2BIG
    texts.push(text)
  }
  return -E2BIG
}

function* replaceProgram(task: Task, dirfd: number, path: string, argv: string[], envp: string[]): Preemptible<number> {
  const chosen = resolveProgram(task, dirfd, path, argv, 0)
  if (typeof chosen === 'number') return chosen
  yield* killOtherThreads(task)
  if (task.group.groupExit !== null) {
    chosen.file.put(task)
    return -ENOENT
  }
  try {
    startProgram(task, chosen, envp)
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error
    // The old program is gone already: what Linux kills with SIGSEGV.
    task.kernel.log.write(`execve ${error.message}`)
    killTask(task)
  } finally {
    chosen.file.put(task)
  }
  return NO_RESULT
}

interface ChosenProgram {
  readonly file: OpenFile
  readonly program: ElfProgram
  /** For AT_EXECFN. */
  readonly path: string
  readonly argv: string[]
}

/** The program itself, or the interpreter a `#!` line names (at most four of them). */
function resolveProgram(task: Task, dirfd: number, path: string, argv: string[], depth: number): ChosenProgram | number {
  const file = openProgram(task, dirfd, path)
  if (typeof file === 'number') return file
  const script = scriptLine(file)
  if (script !== null) {
    file.put(task)
    if (depth === 4) return -ELOOP
    if (script.interpreter === '') return -ENOEXEC
    const rest = [script.interpreter, ...(script.argument === '' ? [] : [script.argument]), path, ...argv.slice(1)]
    return resolveProgram(task, dirfd, script.interpreter, rest, depth + 1)
  }
  try {
    return { file, program: readElf(file, path), path, argv }
  } catch (error) {
    file.put(task)
    if (error instanceof ProgramError) {
      if (error.code === 'dynamic') task.kernel.syscalls.note('execve of a dynamically linked program')
      return error.errno
    }
    throw error
  }
}

function scriptLine(file: OpenFile): { interpreter: string; argument: string } | null {
  const bytes = new Uint8Array(256)
  const got = file.readKernel(bytes, 0, 256, 0)
  if (got < 2 || bytes[0] !== 0x23 || bytes[1] !== 0x21) return null
  const text = String.fromCharCode(...bytes.subarray(2, got))
    .split('\n')[0]
    .trim()
  const space = text.search(/[ \t]/)
  return space < 0
    ? { interpreter: text, argument: '' }
    : { interpreter: text.slice(0, space), argument: text.slice(space).trim() }
}

/** Every other task of the group ends first (de_thread). */
function* killOtherThreads(task: Task): Preemptible<void> {
  const { group } = task
  for (const other of group.tasks) {
    if (other === task) continue
    other.replacedByExec = true
    killTask(other)
  }
  const alone = () => group.tasks.length === 1 || group.groupExit !== null
  while (!alone()) yield* waitUntil(task, group.threadEvents, alone, Number.POSITIVE_INFINITY, true)
  if (group.leader !== task) {
    // The caller takes over the leader's place and number.
    task.kernel.tasks.delete(task.tid)
    task.kernel.tasks.delete(group.leader.tid)
    task.tid = group.pid
    group.leader = task
    task.kernel.tasks.set(task.tid, task)
  }
}

/** From here on there is no way back: new address space, default dispositions, fresh registers. Throws ProgramError. */
export function startProgram(task: Task, chosen: ChosenProgram, envp: readonly string[]): void {
  const { kernel, group } = task
  replaceMm(task, kernel.newMm())
  task.mm.stackLimit = group.limits.soft[RLIMIT_STACK]
  mapProgram(task, chosen.file, chosen.path, chosen.program)
  const sp = buildStack(task, chosen.program, chosen.path, chosen.argv, envp)
  if (task.actions.users > 1) {
    task.actions.users--
    task.actions = task.actions.copy()
  }
  task.actions.resetHandlers()
  resetAltStack(task)
  task.files.closeOnExec(task)
  group.hasExecuted = true
  group.exePath = chosen.file.name
  const name = chosen.path.split('/').pop()!
  task.comm = name.slice(0, 15)
  task.robustList = 0
  task.clearChildTid = 0
  task.rseq.address = task.rseq.length = task.rseq.signature = 0
  task.restart = null
  task.trap.number = task.trap.errorCode = task.trap.cr2Lo = task.trap.cr2Hi = 0
  task.tls.fill(null)
  task.tlsChanged = true
  withPreemptionDisabled(task, (cpu) => kernel.descriptors.load(task, cpu))
  withPreemptionDisabled(task, flushFpu, task)
  setInitialRegisters(task, chosen.program.entry, sp)
}

function replaceMm(task: Task, mm: Mm): void {
  freeArea(task)
  task.shstk = noShadowStack()
  const old = task.mm
  task.mm = mm
  finishVfork(task.group)
  old.release()
  task.context.setCtl(CTL.CR3, mm.table.root, 0)
}

/** LUX-02. */
export function setInitialRegisters(task: Task, entry: number, sp: number): void {
  const { context } = task
  for (let register = 0; register < 16; register++) context.set(register, 0, 0)
  context.set(REG.RSP, sp | 0, Math.floor(sp / 4294967296))
  context.setRip(entry | 0, Math.floor(entry / 4294967296))
  context.rflags = 0x202
  setInitialSegments(task)
  task.forgetSyscall()
}
