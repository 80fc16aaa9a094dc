import type { Kernel } from '../kernel.ts'
import type { HostCpu } from '../processor.ts'
import { onlineFile } from '../sched/hotplug.ts'
import type { Task } from '../task.ts'
import { FixedDirectory, type Node } from './node.ts'
import { TextNode } from './text-file.ts'

/** /sys/devices/system/cpu/cpuN. Offline, it has no topology (drivers/base/topology.c topology_remove_dev()). */
class CpuDirectory extends FixedDirectory {
  private readonly cpu: HostCpu

  constructor(cpu: HostCpu) {
    super()
    this.cpu = cpu
  }
  private shows(name: string): boolean {
    return name !== 'topology' || this.cpu.isOnline
  }
  override lookup(task: Task | null, name: string): Node | null {
    return this.shows(name) ? super.lookup(task, name) : null
  }
  override entries(): [string, Node][] {
    return super.entries().filter(([name]) => this.shows(name))
  }
}

/** Processors as the kernel lists them (`%*pbl`): `0-2,5`, an empty line for none. */
function cpuList(cpus: readonly HostCpu[]): string {
  const ranges: { first: number; last: number }[] = []
  for (const { id } of cpus) {
    const range = ranges.at(-1)
    if (range?.last === id - 1) range.last = id
    else ranges.push({ first: id, last: id })
  }
  return `${ranges.map(({ first, last }) => (first === last ? first : `${first}-${last}`)).join(',')}\n`
}

/** /sys as far as LUX §10 goes. Files report a size of 4096, and one read gives everything (LUX-62). */
export function makeSys(kernel: Kernel, sys: FixedDirectory): void {
  sys.dev = 0x16
  const add = (path: string, text: string | (() => string)) => {
    const parts = path.split('/')
    const name = parts.pop()!
    let directory = sys
    for (const part of parts) directory = directory.directory(part)
    directory.add(name, new TextNode({ read: typeof text === 'string' ? () => text : text, size: 4096 }))
  }
  addProcessors(kernel, sys.directory('devices').directory('system').directory('cpu'))
  add('devices/system/cpu/kernel_max', '8191\n')
  add('devices/system/node/online', '0\n')
  add('devices/system/node/node0/cpulist', () => cpuList(onlineCpus(kernel)))
  add('devices/system/clocksource/clocksource0/current_clocksource', 'tsc\n')
  add('devices/system/clocksource/clocksource0/available_clocksource', 'tsc \n')
  add('kernel/mm/transparent_hugepage/enabled', 'always madvise [never]\n')
  add('kernel/mm/transparent_hugepage/hpage_pmd_size', '2097152\n')
  sys.directory('module')
}

const onlineCpus = ({ cpus }: Kernel): HostCpu[] => cpus.filter((cpu) => cpu.isOnline)

/** What `devices/system/cpu` says of processors. */
function addProcessors(kernel: Kernel, directory: FixedDirectory): void {
  const add = (at: FixedDirectory, name: string, read: () => string) => at.add(name, new TextNode({ read, size: 4096 }))
  for (const name of ['possible', 'present']) add(directory, name, () => cpuList(kernel.cpus))
  add(directory, 'online', () => cpuList(onlineCpus(kernel)))
  add(directory, 'offline', () => cpuList(kernel.cpus.filter((cpu) => !cpu.isOnline)))
  const { threadsPerCore } = kernel.machine
  const coreOf = ({ id }: HostCpu) => Math.floor(id / threadsPerCore)
  const siblings = (cpu: HostCpu) => onlineCpus(kernel).filter((other) => coreOf(other) === coreOf(cpu))
  for (const cpu of kernel.cpus) {
    const its = new CpuDirectory(cpu)
    its.dev = directory.dev
    directory.add(`cpu${cpu.id}`, its)
    if (cpu.id !== 0) its.add('online', new TextNode(onlineFile(cpu)))
    const topology = its.directory('topology')
    add(topology, 'core_id', () => `${coreOf(cpu)}\n`)
    add(topology, 'physical_package_id', () => '0\n')
    add(topology, 'thread_siblings_list', () => cpuList(siblings(cpu)))
  }
  const smt = directory.directory('smt')
  add(smt, 'control', () => (threadsPerCore > 1 ? 'on\n' : 'notsupported\n'))
  add(smt, 'active', () => (kernel.cpus.some((cpu) => siblings(cpu).length > 1) ? '1\n' : '0\n'))
}
