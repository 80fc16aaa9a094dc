import { loadHostControl } from '../entry/host-control.ts'
import { EACCES, EISDIR, ENOENT } from '../errno.ts'
import { O_RDONLY, O_RDWR, O_WRONLY } from '../file.ts'
import { newProgramFpu } from '../fpu/lifecycle.ts'
import { FileTable } from '../fs/file-table.ts'
import { FsContext } from '../fs/fs-context.ts'
import { HostStream, type InputSource, type OutputSink } from '../fs/host-stream.ts'
import { Directory } from '../fs/node.ts'
import { walkPath } from '../fs/path-walk.ts'
import type { Kernel } from '../kernel.ts'
import { SignalActions } from '../signal/actions.ts'
import { Task } from '../task.ts'
import { ThreadGroup } from '../thread-group.ts'
import { readElf } from './elf.ts'
import { openProgram, setInitialRegisters } from './execve.ts'
import { mapProgram } from './load.ts'
import { ProgramError } from './program-error.ts'
import { buildStack } from './stack.ts'

export interface SpawnOptions {
  /** Path inside the modelled host; something must show it (a bind). */
  readonly path: string
  readonly argv: readonly string[]
  readonly envp?: readonly string[]
  /** Working directory. Default `/`. */
  readonly cwd?: string
  readonly stdin?: InputSource
  readonly stdout: OutputSink
  readonly stderr: OutputSink
}

/**
 * Starts the first program of the host. Throws ProgramError when the file is not there or not a static x86-64 program, before
 * anything has run. Strings are bytes: characters below 256.
 */
export function spawn(kernel: Kernel, options: SpawnOptions): Task {
  const task = newTask(kernel)
  task.fs = workingDirectory(task, options.cwd ?? '/')
  const file = openProgram(task, -100, options.path)
  if (typeof file === 'number') throw openError(task, options.path, file)
  task.group.exePath = file.name
  task.comm = options.path.split('/').pop()!.slice(0, 15)
  const program = readElf(file, options.path)
  mapProgram(task, file, options.path, program)
  const sp = buildStack(task, program, options.path, options.argv, options.envp ?? [])
  file.put(task)
  setInitialRegisters(task, program.entry, sp)
  installStreams(task, options)
  kernel.init = kernel.init ?? task.group
  kernel.scheduler.enqueue(task)
  return task
}

/** A process without a program: memory empty, no files, on no run queue. */
export function newTask(kernel: Kernel): Task {
  const pid = kernel.allocatePid()
  const group = new ThreadGroup(kernel, pid, null)
  const task = new Task(kernel, pid, group, kernel.newMm(), new FileTable(), new FsContext(), new SignalActions())
  group.leader = task
  group.tasks.push(task)
  task.affinity = (1 << kernel.cpus.length) - 1
  task.fpu = newProgramFpu(task)
  loadHostControl(task)
  kernel.tasks.set(pid, task)
  kernel.groups.set(pid, group)
  return task
}

function workingDirectory(task: Task, path: string): FsContext {
  const context = new FsContext()
  task.fs = context
  const found = walkPath(task, -100, path, true)
  if (typeof found === 'number' || !(found.node instanceof Directory)) return context
  context.cwd = found.name === '' ? [] : [...found.steps, { name: found.name, directory: found.node }]
  return context
}

function openError(task: Task, path: string, errno: number): ProgramError {
  if (errno === -ENOENT) return new ProgramError('not-found', path, 'no such file', errno)
  const found = walkPath(task, -100, path, true)
  if (typeof found !== 'number' && found.node?.isDirectory)
    return new ProgramError('is-directory', path, 'is a directory', -EISDIR)
  const executable = typeof found !== 'number' && found.node !== null && (found.node.mode & 0o111) !== 0
  if (errno === -EACCES && !executable)
    return new ProgramError('not-readable', path, 'not an executable file (no execute permission)', errno)
  if (errno === -EACCES) return new ProgramError('not-readable', path, 'cannot be read (permission denied)', errno)
  return new ProgramError('not-readable', path, 'cannot be opened', errno)
}

function installStreams(task: Task, options: SpawnOptions): void {
  const { stdin, stdout, stderr } = options
  const input =
    stdin === undefined ? openNull(task) : new HostStream(stdin.terminal ? O_RDWR : O_RDONLY, '/dev/stdin', stdin, null)
  task.files.install(task, input, false)
  task.files.install(task, new HostStream(O_WRONLY, '/dev/stdout', null, stdout), false)
  task.files.install(task, new HostStream(O_WRONLY, '/dev/stderr', null, stderr), false)
  if (stdin !== undefined) task.kernel.scheduler.outsideWaits = () => stdin.awaited
}

function openNull(task: Task) {
  const found = walkPath(task, -100, '/dev/null', true)
  const file = typeof found === 'number' || found.node === null ? -ENOENT : found.node.open(task, O_RDWR, '/dev/null')
  if (typeof file === 'number') throw new Error('/dev/null is missing')
  return file
}
