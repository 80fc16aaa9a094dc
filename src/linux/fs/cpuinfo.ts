import { type FeatureName, features } from '../../isa/cpuid-features.ts'
import type { Kernel } from '../kernel.ts'
import type { HostCpu } from '../processor.ts'
import { hasUserShadowStacks } from '../shstk/thread.ts'

/** Flags whose /proc/cpuinfo name is not the feature's name with `_` for `-` (arch/x86/include/asm/cpufeatures.h). */
const RENAMED: Readonly<Record<string, string>> = {
  'sse4.1': 'sse4_1',
  'sse4.2': 'sse4_2',
  ds: 'dts',
  'ds-cpl': 'ds_cpl',
  'tsc-deadline': 'tsc_deadline_timer',
  'lahf-lm': 'lahf_lm',
  'sha-ni': 'sha_ni',
  invtsc: 'nonstop_tsc',
  shstk: 'user_shstk',
  'amx-tile': 'amx_tile',
}

/** Flags Linux does not print: not in cpufeatures.h, or without a name there. */
const HIDDEN: ReadonlySet<string> = new Set(['xfd', 'ia64', 'pcommit'])

/** /proc/cpuinfo of every processor that is online, from the CPU model (arch/x86/kernel/cpu/proc.c). */
export function cpuinfo(kernel: Kernel): string {
  const online = kernel.cpus.filter((cpu) => cpu.isOnline)
  return online.map(({ id }) => processor(kernel, id, online)).join('')
}

function flagNames(kernel: Kernel): string {
  const names: string[] = []
  for (const feature of features.values()) {
    if (feature.kind !== 'cpuid' || !kernel.model.has(feature.name as FeatureName) || HIDDEN.has(feature.name)) continue
    if (feature.name === 'shstk' && !hasUserShadowStacks(kernel)) continue
    names.push(RENAMED[feature.name] ?? feature.name.replaceAll('-', '_').replaceAll('.', '_'))
  }
  if (kernel.model.has('invtsc')) names.push('constant_tsc')
  return names.join(' ')
}

function processor(kernel: Kernel, id: number, online: readonly HostCpu[]): string {
  const { model, machine } = kernel
  const coreOf = (cpu: number) => Math.floor(cpu / machine.threadsPerCore)
  const mhz = (model.tscKhz / 1000).toFixed(3)
  const rows: [string, string | number][] = [
    ['processor', id],
    ['vendor_id', model.vendor],
    ['cpu family', model.family],
    ['model', model.model],
    ['model name', model.brand],
    ['stepping', model.stepping],
    ['cpu MHz', mhz],
    ['physical id', 0],
    ['siblings', online.length],
    ['core id', coreOf(id)],
    ['cpu cores', new Set(online.map((cpu) => coreOf(cpu.id))).size],
    ['apicid', id],
    ['initial apicid', id],
    ['fpu', 'yes'],
    ['fpu_exception', 'yes'],
    ['cpuid level', model.maxBasicLeaf],
    ['wp', 'yes'],
    ['flags', flagNames(kernel)],
    ['bogomips', ((model.tscKhz * 2) / 1000).toFixed(2)],
    ['clflush size', 64],
    ['cache_alignment', 64],
    ['address sizes', `${model.maxPhysAddr} bits physical, ${model.linearAddrBits} bits virtual`],
    ['power management', ''],
  ]
  return `${rows.map(([name, value]) => `${name}${name.length < 8 ? '\t' : ''}\t: ${value}`).join('\n')}\n\n`
}
