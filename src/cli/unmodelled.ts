import { cpuModelsWith } from '../isa/cpu-grammar.ts'
import { modelFeature } from '../machine/instruction-features.ts'
import type { UnsupportedInstruction } from '../machine/unsupported-log.ts'
import type { ProgramHost } from './program-host.ts'

/** CPU models that have all of an instruction's features (iced's names). */
export function modelsWith(features: readonly string[]): string[] {
  let models: string[] | null = null
  for (const name of features) {
    const feature = modelFeature(name)
    if (feature === null) continue
    const having = feature === undefined ? [] : cpuModelsWith(feature)
    models = models === null ? having : models.filter((model) => having.includes(model))
  }
  return models ?? []
}

/** What a run asked for and the model does not have, one sentence each. */
export function unmodelled({ kernel, machine }: ProgramHost): string[] {
  const calls = kernel.syscalls.unsupported().map(([what, count]) => `${what} (${times(count)})`)
  return [...calls, ...machine.unsupported.list().map((each) => `${describe(each)} (${times(each.count)})`)]
}

const times = (count: number): string => (count === 1 ? 'once' : `${count} times`)

function describe({ mnemonic, bytes, rip, reason, features }: UnsupportedInstruction): string {
  const place = `[${bytes}] at ${rip.toString(16)}`
  if (reason === 'invalid') return `bytes ${place}: no instruction that the decoder knows`
  const feature = features.join(' ')
  if (reason === 'engine') return `instruction ${mnemonic} ${place}: not in the engine (${feature})`
  const models = modelsWith(features)
  const where = models.length === 0 ? 'on no CPU model here' : `on ${models.join(', ')}`
  return `instruction ${mnemonic} ${place}: not on this CPU model (${feature}); ${where}`
}
