-- Made from mesh/policy.yaml by `make gen`: do not edit.
-- Passwords come from /run/secrets/<role>_postgres_password and are hashed before they are stored.
\set ON_ERROR_STOP on
set password_encryption = 'scram-sha-256';
\set database quantum_trader
select format('create database %I', name) from (values (:'database')) as wanted (name)
  where not exists (select from pg_database where datname = name) \gexec
do $$ begin if not exists (select from pg_roles where rolname = 'exec_risk') then create role exec_risk; end if; end $$;
alter role exec_risk login nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 80;
alter role exec_risk set search_path = exec_risk;
do $$ begin if not exists (select from pg_roles where rolname = 'analytics') then create role analytics; end if; end $$;
alter role analytics login nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 80;
alter role analytics set search_path = analytics;
do $$ begin if not exists (select from pg_roles where rolname = 'quantum_user') then create role quantum_user; end if; end $$;
alter role quantum_user login nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 10;
grant pg_read_all_data to quantum_user;
alter role quantum_user set search_path = exec_risk, analytics;
alter role quantum_user set default_transaction_read_only = on;
\set secret `cat /run/secrets/exec_risk_postgres_password`
alter role exec_risk password :'secret';
\set secret `cat /run/secrets/analytics_postgres_password`
alter role analytics password :'secret';
\set secret `cat /run/secrets/quantum_user_postgres_password`
alter role quantum_user password :'secret';
\unset secret
\connect quantum_trader
revoke all on database quantum_trader from public, exec_risk, analytics, quantum_user;
grant connect on database quantum_trader to exec_risk, analytics, quantum_user;
revoke all on schema public from public;
create schema if not exists exec_risk authorization exec_risk;
alter schema exec_risk owner to exec_risk;
revoke all on schema exec_risk from public;
create schema if not exists analytics authorization analytics;
alter schema analytics owner to analytics;
revoke all on schema analytics from public;
