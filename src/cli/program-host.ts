import { readFileSync } from 'node:fs'
import { parseCpuSpec } from '../isa/cpu-grammar.ts'
import { UserError } from '../isa/user-error.ts'
import type { KvmParameters } from '../kvm/kvm.ts'
import { loadKvm } from '../kvm/module.ts'
import { bootKernel } from '../linux/boot.ts'
import type { Kernel } from '../linux/kernel.ts'
import { ENGINE_SWITCHES, type EngineOptions } from '../machine/code-cache.ts'
import { Machine } from '../machine/machine.ts'
import { kernelProfile } from '../profiles/index.ts'
import { bootParameters } from './boot-parameters.ts'

export interface HostOptions {
  readonly cpu: string
  readonly kernel: string
  readonly cpus: number
  readonly memory: number
  readonly seed: number
  readonly engine?: string
  /** `kvm_intel.nested=1` */
  readonly param?: readonly string[]
  /** Programs are root. */
  readonly root?: boolean
  /** `split_lock_detect=fatal` */
  readonly boot?: readonly string[]
}

export interface ProgramHost {
  readonly machine: Machine
  readonly kernel: Kernel
}

/** A modelled host as the command line describes it, with KVM installed. UserError for a name that is not known. */
export function programHost(options: HostOptions): ProgramHost {
  const model = parseCpuSpec(options.cpu)
  const profile = kernelProfile(options.kernel)
  const machine = new Machine({
    model,
    processors: options.cpus,
    physicalBytes: Math.floor(options.memory / 0x10000) * 0x10000,
    decoder: decoderModule(),
    engine: engineOptions(options.engine ?? ''),
    seed: options.seed,
  })
  const kernel = bootKernel(machine, {
    profile,
    seed: options.seed,
    uid: options.root === true ? 0 : 1000,
    ...bootParameters(options.boot ?? []),
  })
  loadKvm(kernel, machine, moduleParameters(options.param ?? [], model.vendor))
  return { machine, kernel }
}

/** Module parameters as on a kernel's command line; one of a module that this processor does not load means nothing. */
function moduleParameters(words: readonly string[], vendor: string): KvmParameters {
  let nested = false
  for (const word of words) {
    const match = /^(kvm_intel|kvm_amd)\.nested=([01YN])$/.exec(word)
    if (match === null) {
      throw new UserError({
        code: 'unknown-module-parameter',
        what: `cannot set module parameter '${word}'`,
        where: '--param',
        because: 'no such parameter can be chosen',
        fix: 'known: kvm_intel.nested=0|1, kvm_amd.nested=0|1',
      })
    }
    if (match[1] === (vendor === 'AuthenticAMD' ? 'kvm_amd' : 'kvm_intel')) nested = match[2] === '1' || match[2] === 'Y'
  }
  return { nested }
}

/** iced's .wasm lies beside the bundle (scripts/build.mjs). */
export function decoderModule(): WebAssembly.Module {
  return new WebAssembly.Module(readFileSync(new URL('iced_x86_bg.wasm', import.meta.url)))
}

/** `no-tiers,no-jumpCache,regionLimit=1`. */
export function engineOptions(text: string): EngineOptions {
  const options: Record<string, boolean | number> = {}
  for (const word of text.split(',').filter((w) => w !== '')) {
    const limit = /^(regionLimit|regionSlots)=([1-9]\d*)$/.exec(word)
    const name = ENGINE_SWITCHES.find((s) => word === `no-${s}`)
    if (limit !== null) options[limit[1]] = Number(limit[2])
    else if (name !== undefined) options[name] = false
    else {
      throw new UserError({
        code: 'unknown-engine-switch',
        what: `unknown engine switch '${word}'`,
        where: '--engine',
        because: 'there is no such optimization',
        fix: `known: ${ENGINE_SWITCHES.map((s) => `no-${s}`).join(', ')}, regionLimit=N, regionSlots=N`,
      })
    }
  }
  return options as EngineOptions
}
