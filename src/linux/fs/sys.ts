import type { Kernel } from '../kernel.ts'
import type { FixedDirectory } from './node.ts'
import { TextNode } from './text-file.ts'

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
  const last = kernel.cpus.length - 1
  const range = last === 0 ? '0\n' : `0-${last}\n`
  for (const name of ['possible', 'present', 'online']) add(`devices/system/cpu/${name}`, range)
  add('devices/system/cpu/offline', '\n')
  add('devices/system/cpu/kernel_max', '8191\n')
  const { threadsPerCore } = kernel.machine
  add('devices/system/cpu/smt/control', threadsPerCore > 1 ? 'on\n' : 'notsupported\n')
  add('devices/system/cpu/smt/active', threadsPerCore > 1 ? '1\n' : '0\n')
  for (const cpu of kernel.cpus) {
    add(`devices/system/cpu/cpu${cpu.id}/online`, '1\n')
    add(`devices/system/cpu/cpu${cpu.id}/topology/core_id`, `${Math.floor(cpu.id / threadsPerCore)}\n`)
    add(`devices/system/cpu/cpu${cpu.id}/topology/physical_package_id`, '0\n')
    const first = cpu.id - (cpu.id % threadsPerCore)
    const siblings = threadsPerCore > 1 ? `${first}-${first + threadsPerCore - 1}` : `${cpu.id}`
    add(`devices/system/cpu/cpu${cpu.id}/topology/thread_siblings_list`, `${siblings}\n`)
  }
  add('devices/system/node/online', '0\n')
  add('devices/system/node/node0/cpulist', range)
  add('devices/system/clocksource/clocksource0/current_clocksource', 'tsc\n')
  add('devices/system/clocksource/clocksource0/available_clocksource', 'tsc \n')
  add('kernel/mm/transparent_hugepage/enabled', 'always madvise [never]\n')
  add('kernel/mm/transparent_hugepage/hpage_pmd_size', '2097152\n')
  sys.directory('module')
}
