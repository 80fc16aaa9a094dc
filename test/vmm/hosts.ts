import { Host, type HostOptions } from '../../src/vmm/modelled/host.ts'
import { icedModule } from '../machine/bare-host.ts'

/** A modelled host for a test: Sapphire Rapids under linux-6.12 with little memory, unless told otherwise. */
export function testHost(options: Partial<HostOptions> = {}): Host {
  return new Host({ cpu: 'SapphireRapids', memory: 32 << 20, decoder: icedModule(), ...options })
}
