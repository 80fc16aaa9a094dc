import { EACCES, EFAULT, EIO, ENOENT } from '../errno.ts'
import { O_ACCMODE, O_RDONLY, OpenFile, plainStat, S_IFLNK, S_IFREG, type Stat } from '../file.ts'
import type { Kernel } from '../kernel.ts'
import { PROT_EXEC, PROT_READ, PROT_WRITE } from '../mm/vma.ts'
import { threadFeatureLines } from '../shstk/proc.ts'
import type { Task } from '../task.ts'
import { Directory, FixedDirectory, MagicLink, Node, type Symlink } from './node.ts'
import { walkPath } from './path-walk.ts'
import { smapsText } from './proc-smaps.ts'
import { fromLatin1, TextNode } from './text-file.ts'

/** /proc/PID and /proc/PID/task/TID. */
export function taskDirectory(kernel: Kernel, task: Task, withTasks: boolean): Directory {
  const directory = new FixedDirectory()
  directory.dev = 0x15
  const add = (name: string, read: () => string) => directory.add(name, new TextNode({ read }))
  add('maps', () => mapsText(kernel, task))
  add('smaps', () => smapsText(task.mm, mapsText(kernel, task).split('\n')))
  add('schedstat', () => `${cpuNs(task)} ${task.runDelay} ${task.turns}\n`)
  add('stat', () => statText(task))
  add('statm', () => `${pagesMapped(task)} ${task.mm.residentPages} 0 0 0 0 0\n`)
  add('status', () => statusText(task))
  add('comm', () => `${task.comm}\n`)
  add('cmdline', () => memoryText(task, task.mm.argStart, task.mm.argEnd))
  add('environ', () => memoryText(task, task.mm.envStart, task.mm.envEnd))
  add('limits', () => limitsText(task))
  add('mounts', () => 'tmpfs / tmpfs rw 0 0\nproc /proc proc rw 0 0\nsysfs /sys sysfs rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n')
  directory.add(
    'exe',
    new MagicLink(
      () => task.group.exePath,
      (opener) => followPath(opener, task.group.exePath),
    ),
  )
  directory.add(
    'cwd',
    new MagicLink(
      () => task.fs.path,
      (opener) => followPath(opener, task.fs.path),
    ),
  )
  directory.add(
    'root',
    new MagicLink(
      () => '/',
      () => kernel.root,
    ),
  )
  directory.add('fd', new DescriptorDirectory(task))
  directory.add('mem', new MemoryNode(task))
  directory.add('pagemap', new PagemapNode(task))
  if (withTasks) directory.add('task', new TaskListDirectory(kernel, task))
  return directory
}

function followPath(opener: Task, path: string): Node | number {
  const found = walkPath(opener, -100, path, true)
  return typeof found === 'number' ? found : (found.node ?? -ENOENT)
}

class TaskListDirectory extends Directory {
  private readonly kernel: Kernel
  private readonly task: Task
  constructor(kernel: Kernel, task: Task) {
    super()
    this.kernel = kernel
    this.task = task
  }
  override lookup(_task: Task | null, name: string): Node | null {
    const found = this.task.group.tasks.find((each) => String(each.tid) === name)
    return found === undefined ? null : taskDirectory(this.kernel, found, false)
  }
  override entries(): [string, Node][] {
    return this.task.group.tasks.map((each) => [String(each.tid), taskDirectory(this.kernel, each, false)])
  }
}

/** /proc/PID/fd: links that lead to the very open files. */
class DescriptorDirectory extends Directory {
  private readonly task: Task
  constructor(task: Task) {
    super()
    this.task = task
  }
  private descriptorLink(fd: number): Symlink {
    const link = new MagicLink(
      () => this.task.files.get(fd)?.name ?? -ENOENT,
      () => this.task.files.get(fd) ?? -ENOENT,
    )
    link.mode = S_IFLNK | 0o700
    return link
  }
  override lookup(_task: Task | null, name: string): Node | null {
    const fd = Number(name)
    return Number.isInteger(fd) && this.task.files.get(fd) !== null ? this.descriptorLink(fd) : null
  }
  override entries(): [string, Node][] {
    return [...this.task.files.entries()].map(([fd]) => [String(fd), this.descriptorLink(fd)])
  }
}

function cpuNs(task: Task): number {
  return Math.floor((task.runInstructions * 1000) / task.kernel.clock.instructionsPerMicrosecond)
}

function pagesMapped(task: Task): number {
  return task.mm.vmas.all.reduce((sum, vma) => sum + vma.pages, 0)
}

/** Documentation/filesystems/proc.rst, table 1-4 and following. */
function mapsText(kernel: Kernel, task: Task): string {
  let text = ''
  for (const vma of task.mm.vmas.all) {
    const hex = (value: number) => value.toString(16).padStart(8, '0')
    const rights = `${vma.prot & PROT_READ ? 'r' : '-'}${vma.prot & PROT_WRITE ? 'w' : '-'}${vma.prot & PROT_EXEC ? 'x' : '-'}${vma.shared ? 's' : 'p'}`
    const stat = vma.file?.stat()
    const device =
      stat === undefined
        ? '00:00'
        : `${(stat.dev >> 8).toString(16).padStart(2, '0')}:${(stat.dev & 0xff).toString(16).padStart(2, '0')}`
    const inode = stat === undefined ? 0 : kernel.inodeNumber(stat.identity)
    const line = `${hex(vma.start)}-${hex(vma.end)} ${rights} ${hex(vma.sourcePage * 4096)} ${device} ${inode} `
    text += `${vma.name === '' ? line : line.padEnd(73) + vma.name}\n`
  }
  return text
}

const STATE_LETTERS: Readonly<Record<Task['state'], string>> = {
  runnable: 'R',
  sleeping: 'S',
  stopped: 'T',
  traced: 't',
  dead: 'Z',
}

/** proc(5) /proc/pid/stat: 52 fields. */
function statText(task: Task): string {
  const { group } = task
  const ticks = Math.floor(cpuNs(task) / 1e7)
  const fields: (number | string)[] = new Array(52).fill(0)
  const set = (field: number, value: number | string) => {
    fields[field - 1] = value
  }
  set(1, task.tid)
  set(2, `(${task.comm})`)
  set(3, STATE_LETTERS[task.state])
  set(4, group.parent?.pid ?? 1)
  set(5, group.pgid)
  set(6, group.sid)
  set(8, -1)
  set(10, task.mm.minorFaults)
  set(14, ticks)
  set(18, 20)
  set(20, group.tasks.length)
  set(23, pagesMapped(task) * 4096)
  set(24, task.mm.residentPages)
  set(25, '18446744073709551615')
  set(38, group.exitSignal)
  set(39, task.cpuId)
  return `${fields.join(' ')}\n`
}

function statusText(task: Task): string {
  const { group } = task
  const hex = (set: { lo: number; hi: number }) =>
    (set.hi >>> 0).toString(16).padStart(8, '0') + (set.lo >>> 0).toString(16).padStart(8, '0')
  const { uid, gid } = task.kernel
  const states = { R: 'running', S: 'sleeping', T: 'stopped', t: 'tracing stop', Z: 'zombie' } as const
  const letter = STATE_LETTERS[task.state] as keyof typeof states
  const lines: [string, string][] = [
    ['Name', task.comm],
    ['State', `${letter} (${states[letter]})`],
    ['Tgid', String(group.pid)],
    ['Pid', String(task.tid)],
    ['PPid', String(group.parent?.pid ?? 1)],
    ['TracerPid', String(task.ptrace?.tracer.group.pid ?? 0)],
    ['Uid', `${uid}\t${uid}\t${uid}\t${uid}`],
    ['Gid', `${gid}\t${gid}\t${gid}\t${gid}`],
    ['VmSize', `${String(pagesMapped(task) * 4).padStart(8)} kB`],
    ['VmRSS', `${String(task.mm.residentPages * 4).padStart(8)} kB`],
    ['Threads', String(group.tasks.length)],
    ['SigPnd', hex(task.pending.set)],
    ['ShdPnd', hex(group.pending.set)],
    ['SigBlk', hex(task.blocked)],
    ['Cpus_allowed', (task.affinity >>> 0).toString(16)],
    ['voluntary_ctxt_switches', String(task.voluntarySwitches)],
    ['nonvoluntary_ctxt_switches', String(task.involuntarySwitches)],
    ...threadFeatureLines(task),
  ]
  return lines.map(([name, value]) => `${name}:\t${value}\n`).join('')
}

function memoryText(task: Task, start: number, end: number): string {
  const bytes = new Uint8Array(Math.max(0, end - start))
  return task.mm.copyFromUser(bytes, 0, start, bytes.length) ? fromLatin1(bytes) : ''
}

function limitsText(task: Task): string {
  const { soft, hard } = task.group.limits
  const show = (value: number) => (value === Number.POSITIVE_INFINITY ? 'unlimited' : String(value)).padEnd(21)
  const rows: [string, number, string][] = [
    ['Max stack size', 3, 'bytes'],
    ['Max core file size', 4, 'bytes'],
    ['Max processes', 6, 'processes'],
    ['Max open files', 7, 'files'],
    ['Max locked memory', 8, 'bytes'],
    ['Max address space', 9, 'bytes'],
  ]
  const head = `${'Limit'.padEnd(26)}${'Soft Limit'.padEnd(21)}${'Hard Limit'.padEnd(21)}Units     \n`
  return (
    head + rows.map(([name, nr, unit]) => `${name.padEnd(26)}${show(soft[nr])}${show(hard[nr])}${unit.padEnd(10)}\n`).join('')
  )
}

/** /proc/PID/mem: reads and writes that bypass protections. */
class MemoryNode extends Node {
  private readonly task: Task
  constructor(task: Task) {
    super(S_IFREG | 0o600)
    this.task = task
  }
  override open(_task: Task, flags: number, path: string): OpenFile {
    return new OpenMemory(flags, path, this.task)
  }
}

class OpenMemory extends OpenFile {
  readonly name: string
  private readonly target: Task
  constructor(flags: number, path: string, target: Task) {
    super(flags)
    this.name = path
    this.target = target
  }
  override stat(): Stat {
    return plainStat(S_IFREG | 0o600, this)
  }
  override get seekable(): boolean {
    return true
  }
  override read(task: Task, user: number, length: number, position: number): number {
    const bytes = new Uint8Array(Math.min(length, 65536))
    const got = this.target.mm.copyFromUserPartly(bytes, 0, position, bytes.length)
    if (got === 0) return length === 0 ? 0 : -EIO
    return task.mm.copyToUser(user, bytes, 0, got) ? got : -EFAULT
  }
  override write(task: Task, user: number, length: number, position: number): number {
    if ((this.flags & O_ACCMODE) === O_RDONLY) return -EACCES
    const bytes = new Uint8Array(Math.min(length, 65536))
    if (!task.mm.copyFromUser(bytes, 0, user, bytes.length)) return -EFAULT
    const done = this.target.mm.forceCopyToUser(position, bytes, 0, bytes.length)
    return done === 0 && length > 0 ? -EIO : done
  }
}

/** /proc/PID/pagemap: 8 bytes a page, bit 63 present; page frame numbers are hidden without privilege. */
class PagemapNode extends Node {
  private readonly task: Task
  constructor(task: Task) {
    super(S_IFREG | 0o400)
    this.task = task
  }
  override open(_task: Task, flags: number, path: string): OpenFile {
    return new OpenPagemap(flags, path, this.task)
  }
}

class OpenPagemap extends OpenFile {
  readonly name: string
  private readonly target: Task
  constructor(flags: number, path: string, target: Task) {
    super(flags)
    this.name = path
    this.target = target
  }
  override get seekable(): boolean {
    return true
  }
  override read(task: Task, user: number, length: number, position: number): number {
    if (position % 8 !== 0 || length % 8 !== 0) return -22
    const count = Math.min(length / 8, 8192)
    const bytes = new Uint8Array(count * 8)
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < count; i++) {
      if (this.target.mm.isPresent((position / 8 + i) * 4096)) view.setUint32(i * 8 + 4, 0x80000000, true)
    }
    return task.mm.copyToUser(user, bytes, 0, bytes.length) ? bytes.length : -EFAULT
  }
}
