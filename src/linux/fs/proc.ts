import type { Kernel } from '../kernel.ts'
import { splitLockMitigate } from '../splitlock/sysctl.ts'
import type { Task } from '../task.ts'
import { cpuinfo } from './cpuinfo.ts'
import { type Directory, FixedDirectory, type Node, Symlink } from './node.ts'
import { taskDirectory } from './proc-task.ts'
import { type TextFile, TextNode } from './text-file.ts'

/** /proc: fixed files, and a directory for every process. */
class ProcDirectory extends FixedDirectory {
  private readonly kernel: Kernel

  constructor(kernel: Kernel) {
    super()
    this.kernel = kernel
  }
  override lookup(task: Task | null, name: string): Node | null {
    if (/^[0-9]+$/.test(name)) return this.processDirectory(Number(name))
    return super.lookup(task, name)
  }
  private processDirectory(pid: number): Directory | null {
    const task = this.kernel.tasks.get(pid)
    return task === undefined ? null : taskDirectory(this.kernel, task, true)
  }
  override entries(): [string, Node][] {
    const processes = [...this.kernel.groups.keys()].map((pid): [string, Node] => [String(pid), this.processDirectory(pid)!])
    return [...super.entries(), ...processes.filter(([, node]) => node !== null)]
  }
}

export function makeProc(kernel: Kernel): FixedDirectory {
  const proc = new ProcDirectory(kernel)
  const add = (path: string, read: TextFile['read'], write?: TextFile['write']) => {
    const parts = path.split('/')
    const name = parts.pop()!
    let directory: FixedDirectory = proc
    for (const part of parts) directory = directory.directory(part)
    directory.add(name, new TextNode(write === undefined ? { read } : { read, write, mode: 0o644 }))
  }
  proc.add('self', new Symlink((task) => String(task.group.pid)))
  proc.add('thread-self', new Symlink((task) => `${task.group.pid}/task/${task.tid}`))
  proc.add('mounts', new Symlink('self/mounts'))
  const { uname } = kernel.profile
  add('version', () => `${uname.sysname} version ${uname.release} (worldswitch) ${uname.version}\n`)
  add('cpuinfo', () => cpuinfo(kernel))
  add('meminfo', () => meminfo(kernel))
  add('uptime', () => {
    const seconds = (kernel.clock.now / 1e9).toFixed(2)
    return `${seconds} ${seconds}\n`
  })
  add('loadavg', () => `0.00 0.00 0.00 1/${kernel.tasks.size} ${Math.max(...kernel.tasks.keys(), 1)}\n`)
  add('stat', () => stat(kernel))
  add('filesystems', () => 'nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\n')
  add('cmdline', () => `${kernel.commandLine}\n`)
  add('sys/kernel/ostype', () => `${uname.sysname}\n`)
  add('sys/kernel/osrelease', () => `${uname.release}\n`)
  add('sys/kernel/version', () => `${uname.version}\n`)
  add('sys/kernel/hostname', () => `${kernel.hostname}\n`)
  add('sys/kernel/pid_max', () => '4194304\n')
  add('sys/kernel/threads-max', () => '62000\n')
  add('sys/kernel/core_pattern', () => 'core\n')
  add('sys/kernel/randomize_va_space', () => '0\n')
  if (kernel.profile.splitLock.hasMitigateSysctl) {
    const { read, write } = splitLockMitigate(kernel)
    add('sys/kernel/split_lock_mitigate', read, write)
  }
  add('sys/vm/overcommit_memory', () => '1\n')
  add('sys/vm/max_map_count', () => '65530\n')
  add('sys/vm/nr_hugepages', () => '0\n')
  add('sys/vm/mmap_min_addr', () => '65536\n')
  add('sys/fs/file-max', () => '9223372036854775807\n')
  add('sys/fs/nr_open', () => '1048576\n')
  return proc
}

/** The lines tests look for, and the usual first ones. */
function meminfo(kernel: Kernel): string {
  const { pages } = kernel
  const kib = (value: number) => `${String(value).padStart(8)} kB`
  const lines: [string, string][] = [
    ['MemTotal', kib(pages.total * 4)],
    ['MemFree', kib(pages.available * 4)],
    ['MemAvailable', kib(pages.available * 4)],
    ['Buffers', kib(0)],
    ['Cached', kib(0)],
    ['SwapTotal', kib(0)],
    ['SwapFree', kib(0)],
    ['AnonHugePages', kib(0)],
    ['HugePages_Total', '       0'],
    ['HugePages_Free', '       0'],
    ['HugePages_Rsvd', '       0'],
    ['HugePages_Surp', '       0'],
    ['Hugepagesize', kib(2048)],
    ['Hugetlb', kib(0)],
  ]
  return lines.map(([name, value]) => `${`${name}:`.padEnd(16)}${value}\n`).join('')
}

function stat(kernel: Kernel): string {
  const ticks = kernel.cpus.map(({ onlineTime }) => Math.floor(onlineTime / 1e7))
  const total = ticks.reduce((sum, each) => sum + each, 0)
  const online = kernel.cpus.filter((cpu) => cpu.isOnline)
  const cpus = online.map(({ id }) => `cpu${id} ${ticks[id]} 0 0 0 0 0 0 0 0 0\n`).join('')
  const boot = Math.floor((kernel.realTime() - kernel.clock.now) / 1e9)
  const running = [...kernel.tasks.values()].filter((task) => task.state === 'runnable').length
  return `cpu  ${total} 0 0 0 0 0 0 0 0 0\n${cpus}ctxt ${kernel.scheduler.contextSwitches}\nbtime ${boot}\nprocesses ${kernel.tasks.size}\nprocs_running ${running}\nprocs_blocked 0\n`
}
